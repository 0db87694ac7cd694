/** What rewriting would make of an address and a sender, for people (`packetboat verify`). Pure. */
import type { AddressClass } from "../config/rewriting.ts";
import type { LiveConfig } from "../config/schema.ts";
import { Rewriting } from "./rewriting.ts";

/** Only what changes; `trouble`: why the mail would wait. */
export interface RewritingShown {
  /** The recipient in the envelope. */
  readonly recipient?: string;
  readonly sender?: string;
  /** The same addresses in the header of mail from clients of ours. */
  readonly headerRecipient?: string;
  readonly headerSender?: string;
  readonly trouble?: string;
}

export function rewritingShown(
  config: LiveConfig,
  { address, sender }: { readonly address: string; readonly sender: string },
): RewritingShown {
  const rewriting = Rewriting.of(config);
  let trouble: string | undefined;
  const change = (written: string, where: AddressClass): string | undefined => {
    if (written === "" || !rewriting.touches(where)) return undefined;
    const becomes = rewriting.wayIn(written, where);
    if (becomes.kind === "trouble") trouble ??= becomes.reason;
    return becomes.kind === "address" && becomes.address !== written ? becomes.address : undefined;
  };
  const shown = {
    recipient: change(address, "EnvelopeRecipient"),
    sender: change(sender, "EnvelopeSender"),
    headerRecipient: change(address, "HeaderRecipient"),
    headerSender: change(sender, "HeaderSender"),
    trouble,
  };
  return Object.fromEntries(Object.entries({ ...shown, trouble }).filter(([, value]) => value !== undefined));
}

/** What an address becomes when mail leaves by SMTP; undefined where it stays. */
export function leavesAs(config: LiveConfig, address: string): string | undefined {
  const rewriting = Rewriting.of(config);
  const becomes = rewriting.touchesOutgoing && address !== "" ? rewriting.wayOut(address) : undefined;
  if (becomes === undefined) return undefined;
  if (becomes.kind === "trouble") return `trouble: ${becomes.reason}`;
  return becomes.address === address ? undefined : becomes.address;
}
