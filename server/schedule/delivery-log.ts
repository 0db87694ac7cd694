/**
 * The line and the numbers of one recipient's attempt: what an administrator greps for and a dashboard counts.
 *
 * Written after every attempt, with Postfix's words. RFC 3463 (dsn field).
 */
import { originalAddress } from "../dsn/typed-address.ts";
import type { Log } from "../observe/log.ts";
import { deliveries, latencySeconds } from "../observe/metrics.ts";
import type { QueuedMessage } from "../queue/queue.ts";
import { replyLine } from "../reply.ts";
import type { Transport } from "../route/resolve.ts";
import type { Result } from "./reports.ts";

export interface Delays {
  /** Acceptance to claim, claim to attempt, connection setup, transmission: Postfix's a/b/c/d, in ms. */
  readonly before: number;
  readonly waiting: number;
  readonly connect: number;
  readonly transmit: number;
}

export type TransportLabel = "smtp" | "lmtp" | "maildir" | "discard" | "error" | "hold";

export function transportLabel(transport: Transport | undefined): TransportLabel {
  switch (transport?.delivery.kind) {
    case "mx":
    case "smtp":
      return "smtp";
    case "lmtp":
    case "lmtp-socket":
      return "lmtp";
    case "maildir":
    case "discard":
    case "hold":
      return transport.delivery.kind;
    // Refused by routing, before any transport.
    case "error":
    case undefined:
      return "error";
  }
}

const status = { delivered: "sent", deferred: "deferred", failed: "bounced" } as const;
const seconds = (ms: number): number => Math.round(Math.max(0, ms)) / 1000;

export function logResult(
  log: Log,
  message: QueuedMessage,
  result: Result,
  transport: Transport | undefined,
  delays: Delays,
  tls: string | undefined,
): void {
  const { recipient, verdict, reply, remoteHost } = result;
  const original = recipient.originalRecipient === undefined ? undefined : originalAddress(recipient.originalRecipient);
  const total = delays.before + delays.waiting + delays.connect + delays.transmit;
  log.info({
    event: "delivery",
    id: message.id,
    to: recipient.address,
    ...(original === undefined || original === recipient.address ? {} : { orig_to: original }),
    relay: remoteHost ?? localRelay(transport),
    delay: seconds(total),
    delays: [delays.before, delays.waiting, delays.connect, delays.transmit].map(seconds),
    dsn: reply.enhanced === "" ? `${String(reply.code)[0] ?? "4"}.0.0` : reply.enhanced,
    status: status[verdict],
    reply: replyLine(reply).slice(0, 500),
    ...(tls === undefined ? {} : { tls }),
  });
  deliveries.inc({ transport: transportLabel(transport), result: verdict });
  if (verdict === "delivered") latencySeconds.observe(Math.max(0, total) / 1000);
}

/** What needs no other host names its means, as Postfix does (`relay=virtual`); what found no host has none. */
function localRelay(transport: Transport | undefined): string {
  const label = transportLabel(transport);
  return transport === undefined || label === "smtp" || label === "lmtp" ? "none" : label;
}
