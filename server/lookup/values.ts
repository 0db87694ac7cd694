/**
 * Values of lookups as Postfix writes them → what the server works with: a transport (transport(5)) and a TLS policy (smtp_tls_policy_maps).
 *
 * Pure, between `Lookups` and route or deliver. What cannot be read is a sentence for the log; who asked makes it temporary (4.3.5), because guessing would send mail another way or
 * in the clear.
 */
import { isIP } from "node:net";
import { type Parsed, wrong } from "../config/lookup-template.ts";
import type { Delivery, TlsLevel, TlsPolicyEntry } from "../config/schema.ts";

/** own: the domain's own delivery (`:`, `virtual`, `local`). mx: the mail exchangers of the recipient's domain (`smtp:`). */
export type TransportValue =
  | { readonly kind: "own" }
  | { readonly kind: "mx" }
  | { readonly kind: "delivery"; readonly delivery: Delivery };

const delivery = (value: Delivery): Parsed<TransportValue> => ({
  ok: true,
  value: { kind: "delivery", delivery: value },
});

interface NextHop {
  readonly host: string;
  readonly port: number;
  /** Not in brackets: its mail exchangers. */
  readonly lookupMX: boolean;
}

function nextHopOf(text: string, defaultPort: number): NextHop | undefined {
  const match = /^(?:\[([^\]\s]{1,255})\]|([^\s:[\]]{1,255}))(?::([0-9]{1,5}|[a-z]{1,20}))?$/.exec(text);
  const host = (match?.[1] ?? match?.[2])?.toLowerCase().replace(/^ipv6:/, "");
  const services: Readonly<Record<string, number>> = {
    smtp: 25,
    submission: 587,
    smtps: 465,
    submissions: 465,
    lmtp: 24,
  };
  const written = match?.[3];
  const port = written === undefined ? defaultPort : (services[written] ?? Number(written));
  if (host === undefined || !(port >= 1 && port <= 65_535)) return undefined;
  if (!/^[a-z0-9_.-]+$/.test(host) && isIP(host) === 0) return undefined;
  return { host, port, lookupMX: match?.[2] !== undefined && isIP(host) === 0 };
}

/** What a reply line can carry (RFC 5321 §4.5.3.1.5), whatever the table says. */
const replyText = (text: string): string => text.replaceAll(/[^\x20-\x7E]/g, "?").slice(0, 400);

function errorOf(text: string, soft: boolean): Delivery {
  const [, enhanced, rest = ""] = /^([45]\.\d{1,3}\.\d{1,3})\s+([^]*)$/.exec(text) ?? [undefined, undefined, text];
  const temporary = soft || enhanced?.startsWith("4.") === true;
  const status = enhanced ?? (temporary ? "4.3.0" : "5.0.0");
  return {
    kind: "error",
    code: temporary ? 450 : 550,
    enhanced: temporary ? `4${status.slice(1)}` : status,
    text: replyText(rest.trim() === "" ? "Delivery to this address is not possible" : rest.trim()),
  };
}

/** `transport:nexthop`. */
export function parseTransport(value: string): Parsed<TransportValue> {
  const text = value.trim();
  const colon = text.indexOf(":");
  const name = (colon < 0 ? text : text.slice(0, colon)).toLowerCase();
  const rest = colon < 0 ? "" : text.slice(colon + 1).trim();
  switch (name) {
    case "":
      // `:` leaves everything as it is; `:nexthop` changes only the host.
      return rest === "" ? { ok: true, value: { kind: "own" } } : parseTransport(`smtp:${rest}`);
    case "virtual":
    case "local":
      return { ok: true, value: { kind: "own" } };
    case "smtp":
    case "relay":
    case "smtps": {
      if (rest === "") return { ok: true, value: { kind: "mx" } };
      const hop = nextHopOf(rest, name === "smtps" ? 465 : 25);
      if (hop === undefined) return wrong(`"${text.slice(0, 100)}" names no host to send to.`);
      return delivery({ kind: "smtp", ...hop, implicitTLS: name === "smtps" });
    }
    case "lmtp": {
      const path = /^unix:(\/[\x21-\x7E]{1,106})$/.exec(rest)?.[1];
      if (path !== undefined) return delivery({ kind: "lmtp-socket", path });
      const hop = nextHopOf(rest.replace(/^inet:/, ""), 24);
      if (hop === undefined) return wrong(`"${text.slice(0, 100)}" names no LMTP server.`);
      return delivery({ kind: "lmtp", host: hop.host, port: hop.port });
    }
    case "discard":
      return delivery({ kind: "discard" });
    case "hold":
      return delivery({ kind: "hold" });
    case "error":
    case "retry":
      return delivery(errorOf(rest, name === "retry"));
    default:
      return wrong(
        `"${name.slice(0, 60)}" is no transport of this server: smtp, relay, smtps, lmtp, virtual, local, discard, hold, error or retry.`,
      );
  }
}

const levels: Readonly<Record<string, TlsLevel>> = {
  none: "None",
  may: "May",
  encrypt: "Encrypt",
  dane: "DANE",
  "dane-only": "DANEOnly",
  fingerprint: "Fingerprint",
  verify: "Verify",
  secure: "Secure",
};
const versions = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] as const;
type Version = (typeof versions)[number];

/** `>=TLSv1.2`, `TLSv1.2:TLSv1.3` or `!SSLv3:!TLSv1`: the lowest that remains; undefined where every version does. */
function lowestVersion(text: string): Parsed<Version | undefined> {
  const atLeast = /^>=(TLSv1(?:\.[123])?)$/i.exec(text)?.[1];
  const parts = text.split(/[:,\s]+/).filter((part) => part !== "");
  const named = (list: readonly string[]): readonly Version[] =>
    versions.filter((version) => list.some((part) => part.toLowerCase() === version.toLowerCase()));
  if (atLeast !== undefined) return { ok: true, value: named([atLeast])[0] };
  const excluded = named(parts.filter((part) => part.startsWith("!")).map((part) => part.slice(1)));
  const included = named(parts);
  const left = (included.length > 0 ? included : versions).filter((version) => !excluded.includes(version));
  if (left.length === 0) return wrong(`protocols=${text.slice(0, 100)} leaves no version of TLS.`);
  return { ok: true, value: left[0] === versions[0] ? undefined : left[0] };
}

/** `level attribute=value …`, separated by blanks or commas, as a table with one or several columns gives it. */
export function parseTlsPolicy(value: string): Parsed<TlsPolicyEntry> {
  const [name = "", ...attributes] = value.split(/[\s,]+/).filter((part) => part !== "");
  const level = Object.hasOwn(levels, name.toLowerCase()) ? levels[name.toLowerCase()] : undefined;
  if (level === undefined) return wrong(`"${name.slice(0, 60)}" is no TLS level.`);
  const matches: string[] = [];
  let minVersion: Version | undefined;
  let ciphers: string | undefined;
  const excluded: string[] = [];
  for (const attribute of attributes) {
    const equals = attribute.indexOf("=");
    const [key, text] =
      equals < 0 ? [attribute, ""] : [attribute.slice(0, equals).toLowerCase(), attribute.slice(equals + 1)];
    if (key === "match") matches.push(...text.split(level === "Fingerprint" ? "|" : /[:|]/));
    else if (key === "protocols") {
      const lowest = lowestVersion(text);
      if (!lowest.ok) return lowest;
      minVersion = lowest.value;
    } else if (key === "ciphers") ciphers = /^(?:export|low|medium|high|null)$/i.test(text) ? undefined : text;
    else if (key === "exclude") excluded.push(...text.split(":").map((cipher) => `!${cipher}`));
    // What an MTA-STS resolver adds for TLS reports and for SNI, which follows from the destination here.
    else if (key !== "servername" && !/^(?:policy_|mx_host_pattern|connection_reuse$|enable_rpk$)/.test(key))
      return wrong(`the TLS policy has the attribute ${key.slice(0, 60)}, which this server does not know.`);
  }
  const names = matches.map((match) => match.trim().toLowerCase()).filter((match) => match !== "");
  const fingerprints = level === "Fingerprint" ? names.map((match) => match.replaceAll(":", "")) : [];
  if (
    fingerprints.some((fingerprint) => !/^[0-9a-f]{64}$/.test(fingerprint)) ||
    (level === "Fingerprint" && fingerprints.length === 0)
  )
    return wrong("level fingerprint needs match= with SHA-256 fingerprints.");
  if (names.some((each) => each.length > 255) || `${ciphers ?? ""}${excluded.join(":")}`.length > 1000)
    return wrong("the TLS policy has a name or a list of ciphers that is too long.");
  const cipherList = [ciphers ?? (excluded.length > 0 ? "DEFAULT" : undefined), ...excluded].filter(
    (part) => part !== undefined,
  );
  return {
    ok: true,
    value: {
      level,
      match: level === "Fingerprint" ? [] : names,
      ...(minVersion === undefined ? {} : { minVersion }),
      ...(cipherList.length === 0 ? {} : { ciphers: cipherList.join(":") }),
      fingerprints,
    },
  };
}
