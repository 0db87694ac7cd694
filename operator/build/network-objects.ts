/**
 * Services, NetworkPolicy and PodDisruptionBudget: who reaches the pods, and how many may be away at once.
 *
 * Stands in build/. The headless Service gives each pod a name of its own, also while it is not ready (the operator must be able to ask it why). The client
 * Service carries every listener but, where it faces the world, those of role Reinject. The NetworkPolicy opens the listeners to everybody and the admin port to the operator and Prometheus only.
 */
import type { Manifest } from "../kube/types.ts";
import type { ServiceListener } from "./listeners.ts";
import { manifest, OPERATOR_LABEL, ownedMeta, podServiceOf, selectorOf } from "./names.ts";
import { ADMIN_PORT } from "./ports.ts";
import type { MailServer } from "./world.ts";

const servicePorts = (listeners: readonly ServiceListener[]) =>
  listeners.map(({ portName, servicePort, containerPort }) => ({
    name: portName,
    port: servicePort,
    protocol: "TCP",
    targetPort: containerPort,
  }));

export function podService(server: MailServer, listeners: readonly ServiceListener[]): Manifest {
  return manifest({
    apiVersion: "v1",
    kind: "Service",
    metadata: ownedMeta(server, podServiceOf(server.metadata.name)),
    spec: {
      type: "ClusterIP",
      clusterIP: "None",
      publishNotReadyAddresses: true,
      selector: selectorOf(server),
      ports: [...servicePorts(listeners), { name: "admin", port: ADMIN_PORT, protocol: "TCP", targetPort: ADMIN_PORT }],
    },
  });
}

/** What content filters give back comes from inside: that door does not face the world (the headless Service has it). */
function facingClients(server: MailServer, listeners: readonly ServiceListener[]): readonly ServiceListener[] {
  const facing = listeners.filter(({ listener }) => listener.role !== "Reinject");
  // A Service needs a port.
  return server.spec.service.type === "ClusterIP" || facing.length === 0 ? listeners : facing;
}

export function clientService(server: MailServer, listeners: readonly ServiceListener[]): Manifest {
  const { type, annotations, externalTrafficPolicy, ipFamilies, ipFamilyPolicy } = server.spec.service;
  return manifest({
    apiVersion: "v1",
    kind: "Service",
    metadata: ownedMeta(server, server.metadata.name, annotations),
    spec: {
      type,
      selector: selectorOf(server),
      ports: servicePorts(facingClients(server, listeners)),
      // The API server refuses the field on a ClusterIP Service.
      externalTrafficPolicy: type === "ClusterIP" ? undefined : externalTrafficPolicy,
      ipFamilies: ipFamilies.length === 0 ? undefined : ipFamilies,
      ipFamilyPolicy,
    },
  });
}

export function networkPolicy(
  server: MailServer,
  listeners: readonly ServiceListener[],
  operatorNamespace: string,
): Manifest {
  const tcp = (port: number) => ({ port, protocol: "TCP" });
  return manifest({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: ownedMeta(server, server.metadata.name),
    spec: {
      podSelector: { matchLabels: selectorOf(server) },
      policyTypes: ["Ingress"],
      ingress: [
        { ports: listeners.map(({ containerPort }) => tcp(containerPort)) },
        {
          from: [
            {
              namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": operatorNamespace } },
              podSelector: { matchLabels: { ...OPERATOR_LABEL } },
            },
            // Both names under which the usual installations of Prometheus run, in whatever namespace.
            { namespaceSelector: {}, podSelector: { matchLabels: { "app.kubernetes.io/name": "prometheus" } } },
            { namespaceSelector: {}, podSelector: { matchLabels: { app: "prometheus" } } },
          ],
          ports: [tcp(ADMIN_PORT)],
        },
      ],
    },
  });
}

/** One pod at a time may be taken away; with a single replica that is the one, and a node drain still gets through. */
export function disruptionBudget(server: MailServer): Manifest {
  return manifest({
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: ownedMeta(server, server.metadata.name),
    spec: { maxUnavailable: 1, selector: { matchLabels: selectorOf(server) } },
  });
}
