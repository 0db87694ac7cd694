/**
 * Client attributes: what XCLIENT and XFORWARD say of somebody else, from the text of the command to values.
 *
 * Pure; linear in a line whose length the session bounds. What is unknown, repeated, empty or malformed is a value (`problem`) that names it. Everything ends up in
 * logs and the Received field, so a value is one word of printable ASCII or it is not taken. `[UNAVAILABLE]` and `[TEMPUNAVAIL]` are null: known to be unknown.
 * Postfix' XCLIENT_README and XFORWARD_README; RFC 3461 §4 (xtext).
 */
import { isIPv4, isIPv6 } from "node:net";
import { plainAddress } from "../policy/networks.ts";

const clientNames = ["NAME", "REVERSE_NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"] as const;
const forwardNames = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"] as const;

export type ClientAttribute = (typeof clientNames)[number];
export type ForwardAttribute = (typeof forwardNames)[number];

/** As EHLO announces them. */
export const xclientKeyword = `XCLIENT ${clientNames.join(" ")}`;
export const xforwardKeyword = `XFORWARD ${forwardNames.join(" ")}`;

/** Absent: not said. null: said to be unavailable. `temporary`: a look-up may succeed later. */
export interface Attributes<Name extends string> {
  readonly values: ReadonlyMap<Name, string | null>;
  readonly temporary: boolean;
}

export type ParsedAttributes<Name extends string> =
  | ({ readonly kind: "ok" } & Attributes<Name>)
  | { readonly kind: "empty" }
  | { readonly kind: "problem"; readonly name: string };

const hostName = /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}))*$/;
/** RFC 5321 §4.5.3.1.2: 255 octets; a HELO is whatever a stranger said, as long as it is one word. */
const word = /^[!-~]{1,255}$/;
const port = /^(?:0|[1-9]\d{0,4})$/;

/** `192.0.2.1` or `IPV6:2001:db8::1`, in lower case and without the prefix. */
function addressOf(value: string): string | undefined {
  if (isIPv4(value)) return value;
  const six = /^IPV6:/i.test(value) ? value.slice(5) : "";
  // A zone is the proxy's own business and means nothing here.
  return isIPv6(six) && !six.includes("%") ? plainAddress(six) : undefined;
}

const portOf = (value: string): string | undefined => (port.test(value) && Number(value) <= 65_535 ? value : undefined);
const oneOf =
  (...words: readonly string[]) =>
  (value: string): string | undefined =>
    words.find((each) => each === value.toUpperCase());

const readers: Readonly<Record<ClientAttribute | ForwardAttribute, (value: string) => string | undefined>> = {
  NAME: (value) => (value.length <= 253 && hostName.test(value) ? value.toLowerCase() : undefined),
  REVERSE_NAME: (value) => (value.length <= 253 && hostName.test(value) ? value.toLowerCase() : undefined),
  ADDR: addressOf,
  PORT: portOf,
  PROTO: oneOf("SMTP", "ESMTP"),
  HELO: (value) => (word.test(value) ? value : undefined),
  LOGIN: (value) => (word.test(value) ? value : undefined),
  DESTADDR: addressOf,
  DESTPORT: portOf,
  IDENT: (value) => (word.test(value) ? value : undefined),
  SOURCE: oneOf("LOCAL", "REMOTE"),
};

/** RFC 3461 §4; XCLIENT's users write lower-case digits too. */
export function decodedXtext(text: string): string | undefined {
  if (!/^(?:[!-*,-~]|\+[0-9A-Fa-f]{2})+$/.test(text)) return undefined;
  return text.replaceAll(/\+([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function parse<Name extends ClientAttribute | ForwardAttribute>(
  names: readonly Name[],
  argument: string,
): ParsedAttributes<Name> {
  const values = new Map<Name, string | null>();
  let temporary = false;
  for (const each of argument.split(" ")) {
    if (each === "") continue;
    const equals = each.indexOf("=");
    const given = (equals < 0 ? each : each.slice(0, equals)).toUpperCase();
    const name = names.find((known) => known === given);
    // Named in the reply: only what is a word of ours, or harmless letters.
    if (name === undefined) return { kind: "problem", name: /^[A-Z_]{1,16}$/.test(given) ? given : "attribute" };
    const text = equals < 0 ? undefined : decodedXtext(each.slice(equals + 1));
    if (text === undefined || values.has(name)) return { kind: "problem", name };
    const unavailable = /^\[(UNAVAILABLE|TEMPUNAVAIL)\]$/i.exec(text);
    if (unavailable !== null) {
      // Nobody is sent by an unknown protocol version or from an unknown kind of place.
      if (name === "PROTO" || name === "SOURCE") return { kind: "problem", name };
      if (name === "NAME") temporary = unavailable[1]?.toUpperCase() === "TEMPUNAVAIL";
      values.set(name, null);
      continue;
    }
    const value = readers[name](text);
    if (value === undefined) return { kind: "problem", name };
    values.set(name, value);
  }
  return values.size === 0 ? { kind: "empty" } : { kind: "ok", values, temporary };
}

export const parseXclient = (argument: string): ParsedAttributes<ClientAttribute> => parse(clientNames, argument);
export const parseXforward = (argument: string): ParsedAttributes<ForwardAttribute> => parse(forwardNames, argument);
