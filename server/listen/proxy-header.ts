/**
 * The PROXY protocol header: what a load balancer says about the client behind it, before anything else on the connection.
 *
 * Read by the adapter (connection.ts) from peers that the listener's configuration names, and from nobody else. Pure and bounded; version 1 (text, at
 * most 107 octets) and version 2 (binary). A header that is not one exactly is "bad": its sender is misconfigured or lying, and the connection ends.
 * HAProxy's proxy-protocol.txt, §2.1 and §2.2.
 */
import { isIPv4, isIPv6 } from "node:net";

export type ProxyHeader =
  /** The header is not complete yet. */
  | { readonly kind: "more" }
  | { readonly kind: "bad"; readonly why: string }
  /** `source`: the client; undefined when the proxy speaks for itself (a health check) or does not know. */
  | { readonly kind: "header"; readonly length: number; readonly source: ProxySource | undefined };

export interface ProxySource {
  readonly address: string;
  readonly port: number;
}

const signature = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
const MAX_TEXT = 107;
/** Addresses and whatever TLVs a proxy may add; more is not a header. */
const MAX_BINARY = 2048;
const decimalPort = /^(?:0|[1-9]\d{0,4})$/;

export function parseProxyHeader(octets: Buffer): ProxyHeader {
  const known = Math.min(octets.length, signature.length);
  if (octets.subarray(0, known).equals(signature.subarray(0, known)))
    return known < signature.length ? { kind: "more" } : binary(octets);
  return text(octets);
}

const bad = (why: string): ProxyHeader => ({ kind: "bad", why });

function text(octets: Buffer): ProxyHeader {
  const start = "PROXY ";
  const head = octets.subarray(0, Math.min(octets.length, start.length)).toString("latin1");
  if (!start.startsWith(head)) return bad("no PROXY header");
  const end = octets.subarray(0, MAX_TEXT).indexOf("\r\n");
  if (end < 0) return octets.length >= MAX_TEXT ? bad("PROXY header without an end") : { kind: "more" };
  const length = end + 2;
  const words = octets.subarray(0, end).toString("latin1").split(" ");
  const [, family, address = "", destination = "", port = "", destinationPort = ""] = words;
  if (family === "UNKNOWN") return { kind: "header", length, source: undefined };
  const isAddress = family === "TCP4" ? isIPv4 : family === "TCP6" ? isIPv6 : undefined;
  if (isAddress === undefined || words.length !== 6) return bad("malformed PROXY header");
  if (!isAddress(address) || !isAddress(destination)) return bad("malformed address in the PROXY header");
  for (const number of [port, destinationPort])
    if (!decimalPort.test(number) || Number(number) > 65_535) return bad("malformed port in the PROXY header");
  return { kind: "header", length, source: { address: address.toLowerCase(), port: Number(port) } };
}

function binary(octets: Buffer): ProxyHeader {
  if (octets.length < 16) return { kind: "more" };
  const version = octets.readUInt8(12) >> 4;
  const command = octets.readUInt8(12) & 15;
  const family = octets.readUInt8(13);
  const rest = octets.readUInt16BE(14);
  if (version !== 2 || command > 1) return bad("unknown version or command in the PROXY header");
  if (rest > MAX_BINARY) return bad("PROXY header too long");
  const length = 16 + rest;
  if (octets.length < length) return { kind: "more" };
  // LOCAL: the proxy's own connection, whatever addresses stand behind it.
  if (command === 0 || family === 0) return { kind: "header", length, source: undefined };
  const isSix = family === 0x21;
  if (family !== 0x11 && !isSix) return bad("PROXY header for a family that is not TCP");
  const bytes = isSix ? 16 : 4;
  if (rest < 2 * bytes + 4) return bad("PROXY header without its addresses");
  const address = octets.subarray(16, 16 + bytes);
  return {
    kind: "header",
    length,
    source: { address: isSix ? sixText(address) : address.join("."), port: octets.readUInt16BE(16 + 2 * bytes) },
  };
}

/** As the URL standard writes it, which is RFC 5952's way. */
function sixText(octets: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, group) => octets.readUInt16BE(2 * group).toString(16));
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}
