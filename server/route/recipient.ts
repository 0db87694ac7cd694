/**
 * Resolving a recipient: alias expansion to the end, then the transport of what is final.
 *
 * The scheduler asks at every attempt, with the configuration of that moment, so that a corrected table reaches mail already queued.
 * Pure; failures are replies. An address that was expanded before is final as long as its own expansion still contains it; when the tables
 * changed under it (a mailbox became an alias), it is expanded anew instead of being delivered to a place that is gone.
 */
import { expand, recipientKey } from "./expansion.ts";
import type { ResolveRecipient } from "./resolve.ts";
import { transportFor } from "./transport.ts";

export const resolveRecipient: ResolveRecipient = (config, address, { sender, expanded }) => {
  const expansion = expand(config, address);
  if (expansion.kind === "fail") return expansion;
  const { addresses } = expansion;
  const self = recipientKey(address);
  const only = addresses.length === 1;
  const keepsItself = expanded
    ? addresses.some((each) => recipientKey(each) === self)
    : only && recipientKey(addresses[0] ?? "") === self;
  return keepsItself ? transportFor(config, address, sender) : { kind: "expand", into: addresses };
};
