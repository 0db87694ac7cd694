/**
 * Whether clients are seen by their own addresses: MailServer → the condition SourceIPPreserved.
 *
 * Stands in build/, pure. A Service of type NodePort or LoadBalancer with externalTrafficPolicy Cluster hands connections on from any node, and every client then has a
 * node's address: limits count the world as one, block lists say nothing, and a trusted network that holds the nodes makes an open relay of the server. That is the one
 * mistake of the container world that costs a reputation, so it is told of wherever the objects show it. What a load balancer in front does, nobody here can see.
 */
import ipaddr from "ipaddr.js";
import type { Condition } from "../../crds/conditions.ts";
import { networkKey } from "./access-rules.ts";
import type { MailServer } from "./world.ts";

export type SourceAddressJudgement = Pick<Condition, "status" | "reason" | "message">;

/** Where nodes and pods have their addresses when nobody says otherwise. RFC 1918, RFC 6598, RFC 4193. */
const usualClusterNetworks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

function parsed(network: string): readonly [address: ipaddr.IPv4 | ipaddr.IPv6, bits: number] | undefined {
  const key = networkKey(network);
  return key === undefined ? undefined : ipaddr.parseCIDR(key);
}

function overlap(one: string, other: string): boolean {
  const [a, b] = [parsed(one), parsed(other)];
  if (a === undefined || b === undefined || a[0].kind() !== b[0].kind()) return false;
  return a[0].match(b[0], Math.min(a[1], b[1]));
}

/** `addresses`: what is known of nodes and pods. */
export function sourceAddressOf({ spec }: MailServer, addresses: readonly string[]): SourceAddressJudgement {
  const { type, externalTrafficPolicy } = spec.service;
  if (type === "ClusterIP")
    return {
      status: "True",
      reason: "SourcePreserved",
      message:
        "A ClusterIP Service does not change client addresses. Where a proxy stands in front of it, set proxyProtocol on the listeners.",
    };
  if (externalTrafficPolicy === "Local")
    return {
      status: "True",
      reason: "SourcePreserved",
      message: "externalTrafficPolicy Local keeps client addresses.",
    };
  const open = spec.listeners.filter(({ role, proxyProtocol }) => role !== "Reinject" && proxyProtocol === undefined);
  if (open.length === 0)
    return {
      status: "True",
      reason: "SourcePreserved",
      message: "Every listener learns client addresses by the PROXY protocol.",
    };
  const names = open.map(({ name }) => name).join(", ");
  const cure = `set spec.service.externalTrafficPolicy to Local, or proxyProtocol on ${names} where the load balancer speaks it`;
  const { trusted } = spec.networks;
  const known = trusted.filter((network) => addresses.some((address) => overlap(network, address)));
  if (known.length > 0)
    return {
      status: "False",
      reason: "OpenRelayRisk",
      message: `externalTrafficPolicy Cluster gives every client the address of a node, and spec.networks.trusted holds such addresses (${known.join(", ")}): anybody may relay through ${names}. Take them out of it now; then ${cure}.`,
    };
  const usual = trusted.filter((network) => usualClusterNetworks.some((each) => overlap(network, each)));
  if (usual.length > 0)
    return {
      status: "False",
      reason: "OpenRelayRisk",
      message: `externalTrafficPolicy Cluster gives every client the address of a node, and spec.networks.trusted holds private networks (${usual.join(", ")}): if nodes are among them, anybody may relay through ${names}. Take the nodes' addresses out of it, and ${cure}.`,
    };
  return {
    status: "False",
    reason: "SourceHidden",
    message: `externalTrafficPolicy Cluster gives clients of ${names} the address of a node: limits, access rules and block lists cannot tell them apart. To see them, ${cure}.`,
  };
}
