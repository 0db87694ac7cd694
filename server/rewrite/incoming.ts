/**
 * What rewriting makes of a message that comes in: its header, as it streams in, and its envelope, when it is stored.
 *
 * Between session/message.ts and the queue. Envelopes of everybody are rewritten, headers only of those named in rewriteHeadersOf: a stranger's header is his, and often
 * signed. Mail that a content filter gives back (Reinject) has been rewritten before. What a map moved keeps its first address as the original recipient
 * (RFC 3461 §4.2), and two names of one recipient become one. Trouble is a value; the message then waits with its sender.
 */
import type { ClientFacts } from "../policy/facts.ts";
import type { Envelope, NewRecipient } from "../queue/queue.ts";
import { recipientKey } from "../route/expansion.ts";
import { type EditedHeader, editedHeader, type HeaderEdits } from "./header-fields.ts";
import { Rewriting } from "./rewriting.ts";

/** Whose headers we complete and rewrite, as local_header_rewrite_clients of Postfix. */
export function isHeaderOurs(client: ClientFacts): boolean {
  if (client.listener.role === "Reinject") return false;
  return client.config.server.rewriting.rewriteHeadersOf.some((owner) => {
    switch (owner) {
      case "Everybody":
        return true;
      case "Authenticated":
        return client.user !== undefined;
      case "TrustedNetworks":
        return client.isInTrustedNetwork();
      case "RelayClientCerts":
        return client.relayCertificate() !== undefined;
      default:
        return owner satisfies never;
    }
  });
}

/** Undefined: this client's header stays as it is. */
export function headerEditor(client: ClientFacts): ((fields: Buffer) => EditedHeader) | undefined {
  const rewriting = Rewriting.of(client.config);
  const removed = client.listener.cleanHeaders?.removeFields ?? [];
  const isRewritten = rewriting.touches("HeaderSender", "HeaderRecipient") && isHeaderOurs(client);
  if (removed.length === 0 && !isRewritten) return undefined;
  const edits: HeaderEdits = {
    removed: new Set(removed),
    ...(isRewritten ? { rewrite: (address, role) => rewriting.wayIn(address, role) } : {}),
  };
  return (fields) => editedHeader(fields, edits);
}

export type RewrittenEnvelope =
  | { readonly kind: "envelope"; readonly envelope: Envelope }
  | { readonly kind: "trouble"; readonly reason: string };

export function rewrittenEnvelope(client: ClientFacts, envelope: Envelope): RewrittenEnvelope {
  const rewriting = Rewriting.of(client.config);
  if (client.listener.role === "Reinject" || !rewriting.touches("EnvelopeSender", "EnvelopeRecipient"))
    return { kind: "envelope", envelope };
  const sender = senderOnTheWayIn(client, envelope.sender);
  if (sender.kind === "trouble") return sender;
  const recipients = new Map<string, NewRecipient>();
  for (const recipient of envelope.recipients) {
    const moved = rewriting.wayIn(recipient.address, "EnvelopeRecipient");
    if (moved.kind === "trouble") return moved;
    const key = recipientKey(moved.address);
    if (!recipients.has(key)) recipients.set(key, movedTo(recipient, moved.address));
  }
  return { kind: "envelope", envelope: { ...envelope, sender: sender.address, recipients: [...recipients.values()] } };
}

/** RFC 5321 §4.5.5: nobody stays nobody. */
export const senderOnTheWayIn = (client: ClientFacts, sender: string): ReturnType<Rewriting["wayIn"]> =>
  sender === "" || client.listener.role === "Reinject"
    ? { kind: "address", address: sender }
    : Rewriting.of(client.config).wayIn(sender, "EnvelopeSender");

function movedTo(recipient: NewRecipient, address: string): NewRecipient {
  if (address === recipient.address) return recipient;
  const original = recipient.originalRecipient ?? typedAddress(recipient.address);
  return { ...recipient, address, ...(original === undefined ? {} : { originalRecipient: original }) };
}

/** RFC 3461 §4.2: type and address in xtext. Addresses beyond ASCII would need RFC 6533's own form; they go without. */
const typedAddress = (address: string): string | undefined =>
  /^[ -~]+$/.test(address)
    ? `rfc822;${address.replaceAll(/[ +=]/g, (character) => `+${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`)}`
    : undefined;
