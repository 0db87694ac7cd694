/**
 * Sorting the recipients of a claimed message: what is decided without a delivery, and what goes where.
 *
 * First step after a claim, with the configuration of this moment. Pure. A group is one transaction: same transport, at most 100 recipients.
 * Destinations that mail needs no connection for (hold) are decided here. RFC 5321 §3.9.1 (aliases), RFC 3461 §5.2.7 (parameters travel along).
 */
import type { LiveConfig } from "../config/schema.ts";
import type { NewRecipient, QueuedMessage, QueuedRecipient } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";
import type { ResolveRecipient, Transport } from "../route/resolve.ts";

export type Decided = { readonly recipient: QueuedRecipient } & (
  | { readonly kind: "refused"; readonly reply: Reply }
  | { readonly kind: "expanded"; readonly into: readonly NewRecipient[] }
  | { readonly kind: "held" }
);

export interface Sorted {
  readonly decided: readonly Decided[];
  readonly groups: readonly { readonly transport: Transport; readonly recipients: readonly QueuedRecipient[] }[];
}

/** RFC 5321 §4.5.3.1.8. */
const mostRecipients = 100;

export function sortRecipients(config: LiveConfig, resolve: ResolveRecipient, message: QueuedMessage): Sorted {
  const decided: Decided[] = [];
  const groups: { transport: Transport; recipients: QueuedRecipient[] }[] = [];
  const open = new Map<string, (typeof groups)[number]>();
  for (const recipient of message.recipients) {
    const resolution = resolve(config, recipient.address, {
      sender: message.envelope.sender,
      expanded: recipient.expanded,
    });
    if (resolution.kind === "fail") decided.push({ recipient, kind: "refused", reply: resolution.reply });
    else if (resolution.kind === "expand")
      decided.push({ recipient, kind: "expanded", into: resolution.into.map((address) => heir(recipient, address)) });
    else if (resolution.transport.delivery.kind === "hold") decided.push({ recipient, kind: "held" });
    else {
      const { transport } = resolution;
      let group = open.get(transport.destination);
      if (group === undefined || group.recipients.length >= mostRecipients) {
        group = { transport, recipients: [] };
        groups.push(group);
        open.set(transport.destination, group);
      }
      group.recipients.push(recipient);
    }
  }
  return { decided, groups };
}

/** The sender's wishes go with the new address, and the name the sender knows it by. */
function heir({ address: original, originalRecipient, notify }: QueuedRecipient, address: string): NewRecipient {
  return {
    address,
    originalRecipient: originalRecipient ?? `rfc822;${encodeXtext(original)}`,
    ...(notify === undefined ? {} : { notify }),
    expanded: true,
  };
}

/** RFC 3461 §4: printable ASCII without "+" and "=" as it is, the rest as `+XX`. */
function encodeXtext(text: string): string {
  return [...Buffer.from(text, "utf8")]
    .map((byte) =>
      byte > 0x20 && byte < 0x7f && byte !== 0x2b && byte !== 0x3d
        ? String.fromCharCode(byte)
        : `+${byte.toString(16).toUpperCase().padStart(2, "0")}`,
    )
    .join("");
}
