/**
 * Addresses as delivery reports name them: a type and the address in a form that the reader of the report can take.
 *
 * ORCPT arrives and leaves in xtext; fields of a report show it decoded. An address outside ASCII has the type utf-8 and two forms: as it is, for
 * readers of internationalized mail, and with `\x{…}` for all others. Pure; strangers' bytes come out without control characters.
 * RFC 3461 §4 and §4.2 (xtext, ORCPT), RFC 3464 §2.1.2, §2.3.1, §2.3.2, RFC 6533 §3 (utf-8 address type).
 */
import { isUtf8 } from "node:buffer";
import { fieldText } from "./mime.ts";

/**
 * RFC 3461 §4: `+XX` is an octet; octets that are no UTF-8 become "?" marks rather than somebody else's letters. A U+FFFD that was sent as one
 * is a character like any other.
 */
export function decodeXtext(text: string): string {
  if (!text.includes("+")) return text;
  const octets = text.replaceAll(/\+([0-9A-F]{2})|[^]/gu, (whole, hex: string | undefined) =>
    hex === undefined ? Buffer.from(whole).toString("latin1") : String.fromCharCode(Number.parseInt(hex, 16)),
  );
  const bytes = Buffer.from(octets, "latin1");
  const decoded = bytes.toString("utf8");
  return isUtf8(bytes) ? decoded : decoded.replaceAll("\ufffd", "?");
}

/** RFC 3461 §4: printable ASCII without "+" and "=" as it is, the rest as `+XX`. */
export const encodeXtext = (text: string): string =>
  text.replaceAll(/[^!-*,-<>-~]/gu, (character) =>
    [...Buffer.from(character)].map((byte) => `+${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );

/** RFC 6533 §3 utf-8-addr-xtext: ASCII only, every other character and the four special ones by number. */
const asciiForm = (address: string): string =>
  address.replaceAll(
    /[^!-*,-<>-[\]-~]/gu,
    (character) => `\\x{${(character.codePointAt(0) ?? 0x3f).toString(16).toUpperCase().padStart(2, "0")}}`,
  );

function fromAsciiForm(text: string): string {
  return text.replaceAll(/\\x\{([0-9A-F]{2,6})\}/g, (whole, hex: string) => {
    const code = Number.parseInt(hex, 16);
    return code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? whole : String.fromCodePoint(code);
  });
}

const isAscii = (text: string): boolean => !/\P{ASCII}/u.test(text);

/** What ORCPT would have said, for an address that came without: RFC 3461 §5.2.1 lets us add it. */
export const originalRecipientOf = (address: string): string =>
  isAscii(address) ? `rfc822;${encodeXtext(address)}` : `utf-8;${asciiForm(address)}`;

interface Typed {
  readonly type: string;
  readonly address: string;
}

/** `type;xtext` taken apart; without a type it is an address as mail has them. */
function parse(originalRecipient: string): Typed {
  const at = originalRecipient.indexOf(";");
  const type = at < 0 ? "rfc822" : originalRecipient.slice(0, at);
  const rest = originalRecipient.slice(at + 1);
  if (type.toLowerCase() === "utf-8") return { type: "utf-8", address: fromAsciiForm(rest) };
  return { type, address: decodeXtext(rest) };
}

/** The address of an ORCPT for a person's eyes. */
export const originalAddress = (originalRecipient: string): string => parse(originalRecipient).address;

/** The body of Original-Recipient; `utf8`: for a reader of internationalized mail. */
export function originalRecipientField(originalRecipient: string, utf8: boolean): string {
  const { type, address } = parse(originalRecipient);
  return typed(fieldText(type, false), address, utf8);
}

/** The body of Final-Recipient and of every other address of ours. */
export const addressField = (address: string, utf8: boolean): string => typed("rfc822", address, utf8);

function typed(type: string, address: string, utf8: boolean): string {
  const clean = fieldText(address, true);
  if (isAscii(clean) && type !== "utf-8") return `${type}; ${clean}`;
  return `utf-8; ${utf8 ? clean : asciiForm(clean)}`;
}
