/**
 * Limits: MailServer.spec.limits → its part of `server.json`. Stands in build/, pure. A network that cannot be read is said and left out: too few are exempt then, never too many.
 */
import type { Limits } from "../../server/config/schema.ts";
import { networkKey } from "./access-rules.ts";
import type { Context } from "./context.ts";
import { durationMs, sizeBytes } from "./quantities.ts";
import { objectKey } from "./world.ts";

type Rate = { readonly count: number; readonly per: string };

/** Longer than this no counter lives. */
const MOST_MS = 7 * 86_400_000;

export function limitsOf({ world, findings }: Context): Limits {
  const { limits, networks } = world.server.spec;
  const rates = Object.fromEntries(
    (
      [
        ["connections", limits.connectionRatePerClient],
        ["messages", limits.messageRatePerClient],
        ["recipients", limits.recipientRatePerClient],
        ["auths", limits.authRatePerClient],
        ["tlsSessions", limits.newTLSSessionRatePerClient],
      ] as const
    ).flatMap(([name, rate]: readonly [string, Rate | undefined]) =>
      rate === undefined
        ? []
        : [[name, { count: rate.count, perMs: Math.min(Math.max(1, durationMs(rate.per)), MOST_MS) }] as const],
    ),
  );
  const named = limits.exempt.networks.flatMap((text) => {
    const network = networkKey(text);
    if (network === undefined)
      findings.refuse(
        objectKey(world.server),
        "Invalid",
        `"${text}" in spec.limits.exempt.networks is not a network; write its address and length, such as 192.0.2.0/24.`,
      );
    return network === undefined ? [] : [network];
  });
  const trusted = limits.exempt.trustedNetworks ? networks.trusted.flatMap((text) => networkKey(text) ?? []) : [];
  return {
    messageSizeBytes: sizeBytes(limits.messageSize),
    headerSizeBytes: sizeBytes(limits.headerSize),
    recipients: limits.recipients,
    recipientOvershoot: limits.recipientOvershoot,
    connections: limits.connections,
    connectionsPerClient: limits.connectionsPerClient,
    rates,
    clientPrefix: { ...limits.clientPrefix },
    exemptNetworks: [...new Set([...named, ...trusted])].sort(),
    messagesPerConnection: limits.messagesPerConnection,
    softErrors: limits.softErrors,
    hardErrors: limits.hardErrors,
    junkCommands: limits.junkCommands,
    idleTimeoutMs: durationMs(limits.idleTimeout),
    heloTimeoutMs: durationMs(limits.heloTimeout),
    minDataRate: limits.minDataRate,
  };
}
