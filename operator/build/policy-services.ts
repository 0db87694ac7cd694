/**
 * Policy services: MailServer.spec.policyServices → the daemons a server asks, with every default written out.
 *
 * Called by server-section.ts. Pure. A service whose address cannot be is said and left out. SMTPD_POLICY_README (defaults of smtpd_policy_service_*).
 */
import { isIP } from "node:net";
import type { Endpoint } from "../../server/config/lookups.ts";
import type { PolicyService } from "../../server/config/policy-services.ts";
import type { Context } from "./context.ts";
import { durationMs } from "./quantities.ts";
import { objectKey } from "./world.ts";

/** smtpd_policy_service_default_action. */
const DEFAULT_ACTION = "451 4.3.5 Server configuration problem";

function endpointOf(text: string): Endpoint | undefined {
  if (text.startsWith("unix:")) return { path: text.slice("unix:".length) };
  const match = /^(?:inet:)?(?:\[([^\]]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  const host = (match?.[1] ?? match?.[2])?.toLowerCase();
  const port = Number(match?.[3]);
  if (host === undefined || !(port >= 1 && port <= 65_535)) return undefined;
  return match?.[1] !== undefined && isIP(host) !== 6 ? undefined : { host, port };
}

export function policyServicesOf({ world, findings }: Pick<Context, "world" | "findings">): PolicyService[] {
  const { server } = world;
  return server.spec.policyServices.flatMap((service): PolicyService[] => {
    const endpoint = endpointOf(service.address);
    if (endpoint === undefined) {
      findings.refuse(
        objectKey(server),
        "Invalid",
        `"${service.address}" of spec.policyServices "${service.name}" is not an address; write host:port with a port up to 65535, [ip6]:port or unix:/path. Until then this service is not asked.`,
      );
      return [];
    }
    return [
      {
        name: service.name,
        endpoint,
        ...(service.stage === undefined ? {} : { stage: service.stage }),
        clients: service.clients ?? "Untrusted",
        connections: service.connections ?? 20,
        timeoutMs: Math.max(1, durationMs(service.timeout ?? "100s")),
        maxIdleMs: durationMs(service.maxIdle ?? "300s"),
        maxLifetimeMs: Math.max(1, durationMs(service.maxLifetime ?? "1000s")),
        tries: service.tries ?? 2,
        retryDelayMs: durationMs(service.retryDelay ?? "1s"),
        defaultAction: service.defaultAction ?? DEFAULT_ACTION,
        context: service.context ?? "",
      },
    ];
  });
}
