/**
 * DNS messages: a question as bytes, an answer as values.
 *
 * Lowest layer of `server/dns`; pure. An answer counts only when it echoes id and question (a blind spoofer must guess both and the port);
 * anything unreadable is `undefined`, as if it had never arrived. RFC 1035 §4, RFC 6891 (EDNS0, DO), RFC 4035 §3.2 (AD), RFC 5452 §9.1 (matching), RFC 2308 (negative TTL).
 */
import dnsPacket, { type Answer, type DecodedPacket, type Packet } from "dns-packet";

export type QuestionType = "A" | "AAAA" | "MX" | "TXT" | "PTR";

export interface MailExchange {
  readonly preference: number;
  /** Lower case, without trailing dot; "" is the null MX (RFC 7505). */
  readonly exchange: string;
}

export interface WireAnswer {
  readonly rcode: string;
  readonly truncated: boolean;
  /** The resolver's claim that it validated; worth what the resolver is worth. */
  readonly authenticData: boolean;
  readonly addresses: readonly string[];
  readonly exchanges: readonly MailExchange[];
  /** TXT: the strings of each record, joined (RFC 7208 §3.3). PTR: names, lower case, without trailing dot. */
  readonly texts: readonly string[];
  /** Least TTL of what was used; for an empty answer the negative TTL of the SOA, or undefined without one. */
  readonly ttlSeconds: number | undefined;
}

/** One datagram that crosses the Internet unfragmented: DNS flag day 2020. */
const udpPayloadSize = 1232;
/** More records than any mail domain has; the rest is not looked at. */
const mostRecords = 200;
const longestAliasChain = 16;

/** RFC 1035 §2.3.4: labels of 1 to 63 octets, 253 characters in all. */
export function isQueryName(name: string): boolean {
  if (name === "" || name.length > 253) return false;
  return name.split(".").every((label) => label.length > 0 && label.length <= 63 && !/[^\x21-\x7e]/.test(label));
}

export function encodeQuery(id: number, name: string, type: QuestionType): Buffer {
  return dnsPacket.encode({
    type: "query",
    id,
    flags: dnsPacket.RECURSION_DESIRED | dnsPacket.AUTHENTIC_DATA,
    questions: [{ type, name }],
    additionals: [
      {
        type: "OPT",
        name: ".",
        udpPayloadSize,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: dnsPacket.DNSSEC_OK,
        flag_do: true,
        options: [],
      },
    ],
  });
}

export function decodeAnswer(data: Buffer, id: number, name: string, type: QuestionType): WireAnswer | undefined {
  let packet: DecodedPacket & Packet & { readonly rcode?: string };
  try {
    packet = dnsPacket.decode(data);
  } catch {
    return undefined;
  }
  const question = packet.questions?.[0];
  if (packet.id !== id || !packet.flag_qr || packet.questions?.length !== 1) return undefined;
  if (question === undefined || question.type !== type || canonical(question.name) !== canonical(name))
    return undefined;

  const answers = (packet.answers ?? []).slice(0, mostRecords);
  const { owner, ttlSeconds: aliasTtl } = followAliases(answers, canonical(name));
  const addresses: string[] = [];
  const exchanges: MailExchange[] = [];
  const texts: string[] = [];
  let ttlSeconds = aliasTtl;
  for (const answer of answers) {
    if (answer.type !== type || canonical(answer.name) !== owner) continue;
    if ((answer.type === "A" || answer.type === "AAAA") && typeof answer.data === "string") addresses.push(answer.data);
    else if (answer.type === "MX")
      exchanges.push({ preference: answer.data.preference ?? 0, exchange: canonical(answer.data.exchange) });
    else if (answer.type === "TXT") texts.push(textOf(answer.data));
    else if (answer.type === "PTR") texts.push(canonical(answer.data));
    else continue;
    ttlSeconds = Math.min(ttlSeconds ?? Number.POSITIVE_INFINITY, answer.ttl ?? 0);
  }
  const empty = addresses.length === 0 && exchanges.length === 0 && texts.length === 0;
  return {
    rcode: packet.rcode ?? "SERVFAIL",
    truncated: packet.flag_tc,
    authenticData: packet.flag_ad,
    addresses,
    exchanges,
    texts,
    ttlSeconds: empty ? negativeTtl(packet.authorities ?? []) : ttlSeconds,
  };
}

/** Lower case, without the trailing dot; the root is "". */
const canonical = (name: string): string => (name.endsWith(".") ? name.slice(0, -1) : name).toLowerCase();

const textOf = (data: string | Buffer | readonly (string | Buffer)[]): string =>
  (Array.isArray(data) ? data : [data]).map((part) => part.toString()).join("");

/** A recursive resolver sends the whole CNAME chain; the records wanted stand under its last name. */
function followAliases(
  answers: readonly Answer[],
  name: string,
): { readonly owner: string; readonly ttlSeconds: number | undefined } {
  let owner = name;
  let ttlSeconds: number | undefined;
  for (let step = 0; step < longestAliasChain; step++) {
    const alias = answers.find((answer) => answer.type === "CNAME" && canonical(answer.name) === owner);
    if (alias === undefined || alias.type !== "CNAME") break;
    owner = canonical(alias.data);
    ttlSeconds = Math.min(ttlSeconds ?? Number.POSITIVE_INFINITY, alias.ttl ?? 0);
  }
  return { owner, ttlSeconds };
}

function negativeTtl(authorities: readonly Answer[]): number | undefined {
  const soa = authorities.find((answer) => answer.type === "SOA");
  return soa?.type === "SOA" ? Math.min(soa.ttl ?? 0, soa.data.minimum ?? 0) : undefined;
}
