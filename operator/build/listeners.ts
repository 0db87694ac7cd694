/**
 * Listeners: what MailServer.spec.listeners asks for → sockets in the pod and ports of its Services.
 *
 * Stands in build/, pure. The port names of the well-known ports are those of /etc/services (smtp, submission, submissions), so that a chart, a probe or a person
 * finds them whatever the listener is called; others carry the listener's own name. Defaults of `tls` that depend on the role are filled in here. What is
 * wrong with one network or address is said and left out.
 */
import ipaddr from "ipaddr.js";
import type { Listener } from "../../server/config/schema.ts";
import { networkKey } from "./access-rules.ts";
import type { Context } from "./context.ts";
import { containerPorts } from "./ports.ts";
import { type MailServer, objectKey } from "./world.ts";

export interface ServiceListener {
  readonly servicePort: number;
  readonly containerPort: number;
  /** Of the Service's and the container's port: at most 15 characters (RFC 6335 §5.1). */
  readonly portName: string;
  readonly listener: Listener;
}

const usualNames: ReadonlyMap<number, string> = new Map([
  [25, "smtp"],
  [465, "submissions"],
  [587, "submission"],
]);

export function serviceListeners({ spec }: Pick<MailServer, "spec">): ServiceListener[] {
  const ports = containerPorts(spec.listeners.map(({ port }) => port));
  const taken = new Set(["admin", ...spec.listeners.flatMap(({ port }) => usualNames.get(port) ?? [])]);
  return spec.listeners.map(({ name, role, port, tls, etrn, authenticatedHeader, cleanHeaders }, index) => {
    const containerPort = ports[index] ?? port;
    const usual = usualNames.get(port);
    // RFC 6335: a letter at least, no two hyphens in a row; what is not such a name, or is taken, becomes one made of the number.
    const own = /[a-z]/.test(name) && !name.includes("--") && !taken.has(name) ? name : `tcp-${port}`;
    taken.add(own);
    return {
      servicePort: port,
      containerPort,
      portName: usual ?? own,
      listener: {
        name,
        role,
        port: containerPort,
        tls: {
          mode: tls?.mode ?? (role === "Reinject" ? "None" : "StartTLS"),
          required: role === "Submission" || (tls?.required ?? false),
          clientCertificates: tls?.clientCertificates ?? (role === "MX" ? "Ask" : "Ignore"),
          receivedHeader: tls?.receivedHeader ?? true,
        },
        ...(etrn === undefined ? {} : { etrn }),
        ...(authenticatedHeader === undefined ? {} : { authenticatedHeader }),
        ...(cleanHeaders === undefined
          ? {}
          : {
              cleanHeaders: {
                hideClientAddress: cleanHeaders.hideClientAddress ?? false,
                removeFields: [
                  ...new Set((cleanHeaders.removeFields ?? []).map((field) => field.toLowerCase())),
                ].sort(),
              },
            }),
      },
    };
  });
}

/** In the form in which it is bound; undefined when it is none. */
function addressKey(text: string): string | undefined {
  const network = networkKey(text);
  return network === undefined || text.includes("/") ? undefined : ipaddr.parse(text).toString();
}

/** The listeners as the server reads them. */
export function listenersOf({ world: { server }, findings }: Context): Listener[] {
  const key = objectKey(server);
  const { spec } = server;
  return serviceListeners(server).map(({ listener }, place) => {
    const written = spec.listeners[place];
    const usable = (
      field: string,
      texts: readonly string[] | undefined,
      read: (text: string) => string | undefined,
      advice: string,
    ): string[] | undefined =>
      texts === undefined
        ? undefined
        : [
            ...new Set(
              texts.flatMap((text) => {
                const found = read(text);
                if (found === undefined)
                  findings.refuse(key, "Invalid", `"${text}" in spec.listeners[${place}].${field} ${advice}`);
                return found === undefined ? [] : [found];
              }),
            ),
          ].sort();
    const notANetwork = "is not a network; write its address and length, such as 192.0.2.0/24.";
    const proxyProtocol = usable(
      "proxyProtocol.trustedCIDRs",
      written?.proxyProtocol?.trustedCIDRs,
      networkKey,
      notANetwork,
    );
    const trustedProxies = usable("trustedProxies", written?.trustedProxies, networkKey, notANetwork);
    const addresses = usable("addresses", written?.addresses, addressKey, "is not an IP address; correct it.");
    if (listener.role === "Reinject" && trustedProxies === undefined && spec.networks.trusted.length === 0)
      findings.warn(
        key,
        `Nobody may use listener ${listener.name}: role Reinject needs its trustedProxies, or spec.networks.trusted, to hold the content filter's addresses.`,
      );
    return {
      ...listener,
      ...(addresses === undefined ? {} : { addresses }),
      ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
      ...(trustedProxies === undefined ? {} : { trustedProxies }),
    };
  });
}
