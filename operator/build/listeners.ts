/**
 * Listeners: what MailServer.spec.listeners asks for → sockets in the pod and ports of its Services.
 *
 * Stands in build/, pure. The port names of the well-known ports are those of /etc/services (smtp, submission, submissions), so that a chart, a probe or a person
 * finds them whatever the listener is called; others carry the listener's own name. Defaults of `tls` that depend on the role are filled in here.
 */
import type { Listener } from "../../server/config/schema.ts";
import { containerPorts } from "./ports.ts";
import type { MailServer } from "./world.ts";

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
  return spec.listeners.map(({ name, role, port, tls, authenticatedHeader }, index) => {
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
          mode: tls?.mode ?? "StartTLS",
          required: role === "Submission" || (tls?.required ?? false),
          clientCertificates: tls?.clientCertificates ?? (role === "MX" ? "Ask" : "Ignore"),
          receivedHeader: tls?.receivedHeader ?? true,
        },
        ...(authenticatedHeader === undefined ? {} : { authenticatedHeader }),
      },
    };
  });
}
