/**
 * Sorting the recipients of a claimed message: what is decided without a delivery, and what goes where.
 *
 * First step after a claim, with the configuration of this moment and what look-ups say. Pure. A group is one transaction: same transport, at most 100 recipients.
 * Destinations that mail needs no connection for (hold) are decided here. RFC 5321 §3.9.1 (aliases), RFC 3461 §5.2.7 (parameters travel along).
 */
import { originalRecipientOf } from "../dsn/typed-address.ts";
import type { NewRecipient, Notify, QueuedMessage, QueuedRecipient } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";
import type { Routing } from "../route/asked.ts";
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

export function sortRecipients(config: Routing, resolve: ResolveRecipient, message: QueuedMessage): Sorted {
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
      decided.push({ recipient, kind: "expanded", into: heirs(recipient, resolution.into) });
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

/**
 * The sender's wishes go with the new addresses, and the name the sender knows them by. With one exception: for an alias of several, success is
 * reported here, once ("expanded"), and not by each of them. RFC 3461 §5.2.7.2, §5.2.7.3 (c).
 */
function heirs(
  { address: original, originalRecipient = originalRecipientOf(original), notify }: QueuedRecipient,
  addresses: readonly string[],
): readonly NewRecipient[] {
  const wishes = notify === undefined || addresses.length === 1 ? notify : withoutSuccess(notify);
  return addresses.map((address) => ({
    address,
    originalRecipient,
    ...(wishes === undefined ? {} : { notify: wishes }),
    expanded: true,
  }));
}

/** Nothing left is not nothing said, which would mean failures and delays. */
function withoutSuccess(notify: readonly Notify[]): readonly Notify[] {
  const rest = notify.filter((what) => what !== "SUCCESS");
  return rest.length === 0 && notify.length > 0 ? ["NEVER"] : rest;
}
