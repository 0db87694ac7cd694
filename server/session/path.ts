/**
 * Paths: the address of MAIL FROM and RCPT TO, from bytes to a value.
 *
 * Pure and linear in the length of its input, which is a stranger's. What is not a path is undefined, never an exception.
 * Source routes are read and dropped (RFC 5321 §4.1.1.3, appendix C). Spaces after the colon are let through. Without `strict`, so are a path without angle brackets and
 * stray dots in the local part, as Postfix does without strict_rfc821_envelopes.
 * RFC 5321 §4.1.2 (grammar), §4.5.3.1.3 (256 octets), RFC 6531 §3.3 (UTF-8).
 */
import { isIPv4, isIPv6 } from "node:net";
import { domainKey } from "../config/address.ts";

export interface Path {
  /** `local@domain` as written, "" for the null path, `postmaster` (any case) for the one address that needs no domain. */
  readonly address: string;
  /** It holds characters beyond ASCII: only with SMTPUTF8. */
  readonly international: boolean;
}

export interface ParsedPath {
  readonly path: Path;
  /** What follows: the parameters, trimmed. */
  readonly rest: string;
}

/** RFC 5321 §4.5.3.1.3: 256 octets with the brackets. */
const MAX_ADDRESS_OCTETS = 254;
// Visually empty characters: nobody's address, everybody's trick.
// oxlint-disable-next-line no-control-regex
const unsafe = /[\u0000-\u001f\u007f-\u009f\u200b\u2060\ufeff]/;
/** RFC 5322 §3.2.3 atext and dot, with RFC 6531's UTF8-non-ascii. */
const dotString = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\u0080-\u{10ffff}-]+$/u;
const quotedString = /^"(?:[ !#-[\]-~\u0080-\u{10ffff}]|\\[ -~])*"$/u;

/** `FROM:<…> …` or `TO:<…> …`: the text after the verb. */
export function parsePath(
  argument: string,
  keyword: "FROM" | "TO",
  options: {
    readonly strict: boolean;
    /** Adds what an address lacks, where that is configured. */
    readonly completed?: (address: string) => string;
  },
): ParsedPath | undefined {
  const colon = argument.indexOf(":");
  if (colon < 0 || argument.slice(0, colon).trim().toUpperCase() !== keyword) return undefined;
  const text = argument.slice(colon + 1).trimStart();
  if (!text.startsWith("<")) {
    if (options.strict || text === "") return undefined;
    const space = text.indexOf(" ");
    const bare = space < 0 ? text : text.slice(0, space);
    const path = bare.includes("<") || bare.includes(">") ? undefined : parseAddress(bare, keyword, options);
    return path === undefined || path.address === ""
      ? undefined
      : { path, rest: space < 0 ? "" : text.slice(space).trim() };
  }
  const end = closingBracket(text);
  if (end < 0) return undefined;
  const rest = text.slice(end + 1);
  if (rest !== "" && !rest.startsWith(" ")) return undefined;
  const path = parseAddress(withoutSourceRoute(text.slice(1, end)), keyword, options);
  return path === undefined ? undefined : { path, rest: rest.trim() };
}

/** Where the path ends: a quoted local part may hold `>`. */
function closingBracket(text: string): number {
  let quoted = false;
  for (let at = 1; at < text.length; at += 1) {
    const char = text[at];
    if (quoted && char === "\\") at += 1;
    else if (char === '"') quoted = !quoted;
    else if (char === ">" && !quoted) return at;
  }
  return -1;
}

/** RFC 5321 §4.1.2: `@one,@two:` before the mailbox is accepted and ignored. */
function withoutSourceRoute(mailbox: string): string {
  if (!mailbox.startsWith("@")) return mailbox;
  const colon = mailbox.indexOf(":");
  return colon < 0 ? mailbox : mailbox.slice(colon + 1);
}

function parseAddress(
  written: string,
  keyword: "FROM" | "TO",
  { strict, completed }: Parameters<typeof parsePath>[2],
): Path | undefined {
  const address = completed?.(written) ?? written;
  if (address === "") return { address: "", international: false };
  if (unsafe.test(address) || Buffer.byteLength(address) > MAX_ADDRESS_OCTETS) return undefined;
  // RFC 5321 §4.5.1: postmaster needs no domain, as a recipient.
  if (keyword === "TO" && address.toLowerCase() === "postmaster") return { address, international: false };
  const at = address.lastIndexOf("@");
  if (at <= 0) return undefined;
  const localPart = address.slice(0, at);
  if (!isLocalPart(localPart, strict) || !isDomain(address.slice(at + 1))) return undefined;
  // oxlint-disable-next-line no-control-regex
  return { address, international: /[^\u0000-\u007f]/.test(address) };
}

function isLocalPart(localPart: string, strict: boolean): boolean {
  // `""@domain` is legal and nobody: its table key would be the whole domain's.
  if (localPart.startsWith('"')) return localPart.length > 2 && quotedString.test(localPart);
  if (!dotString.test(localPart)) return false;
  return !strict || !(localPart.startsWith(".") || localPart.endsWith(".") || localPart.includes(".."));
}

/** A name, or an address literal (RFC 5321 §4.1.3). */
export function isDomain(domain: string): boolean {
  if (domain.startsWith("[")) {
    if (!domain.endsWith("]")) return false;
    const literal = domain.slice(1, -1);
    return /^IPv6:/i.test(literal) ? isIPv6(literal.slice(5)) : isIPv4(literal);
  }
  const key = domainKey(domain);
  return (
    key !== undefined &&
    !domain.endsWith(".") &&
    key.split(".").every((label) => label.length <= 63 && !label.startsWith("-") && !label.endsWith("-"))
  );
}
