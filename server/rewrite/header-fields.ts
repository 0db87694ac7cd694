/**
 * Header fields: the addresses of a message's header, rewritten in place, and fields that are taken out.
 *
 * On the way in between the intake and the queue (rewrite/incoming.ts), on the way out before a message goes over SMTP (rewrite/outgoing.ts). Where nothing changes the very same
 * octets come back. Octets are not interpreted as characters but for an address in UTF-8 (RFC 6532 §3.2). Linear; no more than MOST_ADDRESSES are looked up.
 * Trouble with one address is trouble with the message. RFC 5322 §3.6.2 (originator), §3.6.3 (destination), §3.6.6 (resent); RFC 8098 §2.1.
 */
import { isUtf8 } from "node:buffer";
import { fieldsOf } from "../content/header.ts";
import type { Rewritten } from "./rewriting.ts";
import { rewriteAddresses } from "./address-list.ts";

type Role = "HeaderSender" | "HeaderRecipient";

/** As header_opts of Postfix sorts them. Trace fields (Received, Return-Path, Delivered-To) tell what was, and are nobody's to change. */
const roles: ReadonlyMap<string, Role> = new Map<string, Role>([
  ["from", "HeaderSender"],
  ["sender", "HeaderSender"],
  ["reply-to", "HeaderSender"],
  ["errors-to", "HeaderSender"],
  ["mail-followup-to", "HeaderSender"],
  ["disposition-notification-to", "HeaderSender"],
  ["return-receipt-to", "HeaderSender"],
  ["resent-from", "HeaderSender"],
  ["resent-sender", "HeaderSender"],
  ["to", "HeaderRecipient"],
  ["cc", "HeaderRecipient"],
  ["bcc", "HeaderRecipient"],
  ["apparently-to", "HeaderRecipient"],
  ["resent-to", "HeaderRecipient"],
  ["resent-cc", "HeaderRecipient"],
  ["resent-bcc", "HeaderRecipient"],
  ["resent-reply-to", "HeaderRecipient"],
]);

/** Different addresses of one header that are looked up, patterns being dear (2 µs each); those behind them stay. As header_address_token_limit. */
export const MOST_ADDRESSES = 2000;

export interface HeaderEdits {
  /** Names of fields to take out, lower case. */
  readonly removed?: ReadonlySet<string>;
  readonly rewrite?: (address: string, role: Role) => Rewritten;
}

export type EditedHeader =
  | { readonly kind: "header"; readonly header: Buffer }
  | { readonly kind: "trouble"; readonly reason: string };

const highOctet = /[\u0080-\u00ff]/;

/** `header`: fields with their line ends, and whatever follows them. */
export function editedHeader(header: Buffer, { removed, rewrite }: HeaderEdits): EditedHeader {
  const text = header.toString("latin1");
  const parts: string[] = [];
  const known = new Map<string, string | undefined>();
  let trouble: string | undefined;
  let left = MOST_ADDRESSES;
  let copied = 0;

  const rewritten = (address: string, role: Role): string | undefined => {
    const key = `${role} ${address}`;
    if (known.has(key)) return known.get(key);
    if (left <= 0 || rewrite === undefined || trouble !== undefined) return undefined;
    left -= 1;
    const isUnicode = highOctet.test(address);
    const octets = Buffer.from(address, "latin1");
    const found =
      isUnicode && !isUtf8(octets) ? undefined : rewrite(isUnicode ? octets.toString("utf8") : address, role);
    if (found?.kind === "trouble") trouble = found.reason;
    const replacement = found?.kind === "address" ? Buffer.from(found.address).toString("latin1") : undefined;
    known.set(key, replacement);
    return replacement;
  };

  for (const { name, start, valueStart, end } of fieldsOf(text)) {
    if (removed?.has(name) === true) {
      parts.push(text.slice(copied, start));
      copied = end;
      continue;
    }
    const role = rewrite === undefined ? undefined : roles.get(name);
    if (role === undefined) continue;
    const value = text.slice(valueStart, end);
    const edited = rewriteAddresses(value, (address) => rewritten(address, role));
    if (edited === value) continue;
    parts.push(text.slice(copied, valueStart), edited);
    copied = end;
  }
  if (trouble !== undefined) return { kind: "trouble", reason: trouble };
  if (copied === 0) return { kind: "header", header };
  parts.push(text.slice(copied));
  return { kind: "header", header: Buffer.from(parts.join(""), "latin1") };
}
