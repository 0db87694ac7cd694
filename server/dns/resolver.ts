/**
 * Names to next hops: MX and addresses of mail domains by DNS, addresses of configured hosts by the system.
 *
 * Asked by `server/deliver`. Two kinds of names, two ways: a mail domain is a stranger's and is looked up in DNS exactly as written; a next hop an
 * administrator wrote (`dovecot`, `mail.apps.svc`) goes through getaddrinfo, so that search domains and /etc/hosts hold.
 * Promises an answer of a closed set within a bounded time and never throws; a look-up that failed is `temporary`, never "does not exist".
 * `authenticated` is the AD bit of a resolver we trust: on loopback, or declared trusted. Node does not expose that bit, hence our own resolver.
 * RFC 5321 §5.1, RFC 2308 (negative answers), RFC 4035 §4.9.3 (AD), RFC 7505 (null MX is an MX record with an empty exchange).
 */
import { lookup } from "node:dns/promises";
import ipaddr from "ipaddr.js";
import { ask, type Question } from "./exchange.ts";
import { type DnsServer, parseServer, systemServers } from "./servers.ts";
import { isQueryName, type MailExchange, type QuestionType, type WireAnswer } from "./wire.ts";

export type { MailExchange } from "./wire.ts";

export type DnsResult<T> =
  | {
      readonly kind: "found";
      readonly answers: readonly T[];
      readonly authenticated: boolean;
      readonly ttlSeconds: number;
    }
  /** The name does not exist · it exists without such records · nobody could say. */
  | { readonly kind: "nxdomain" | "nodata" | "temporary" };

export interface Resolver {
  mx(domain: string): Promise<DnsResult<MailExchange>>;
  /** A and AAAA of a name of public DNS; one family failing while the other answers is enough. */
  addresses(host: string): Promise<DnsResult<string>>;
  /** Addresses of a host the configuration names, by getaddrinfo. Never nxdomain: a service that is being created is not there yet. */
  hostAddresses(host: string): Promise<DnsResult<string>>;
}

/** What sessions ask besides. */
export interface Dns extends Resolver {
  /** A records alone, as block lists answer. */
  a(name: string): Promise<DnsResult<string>>;
  /** The strings of each TXT record, joined. */
  txt(name: string): Promise<DnsResult<string>>;
  /** The names an address leads to (PTR), unconfirmed, lower case. */
  pointer(address: string): Promise<DnsResult<string>>;
}

export interface ResolverOptions {
  /** `outbound.resolvers` of the live configuration; empty: those of /etc/resolv.conf. */
  readonly servers?: () => readonly string[];
  /** Resolvers (as written in `servers`) whose AD bit counts besides those on loopback. */
  readonly trusted?: () => readonly string[];
  /** For one question to one server; each server is asked `rounds` times. */
  readonly timeoutMs?: number;
  readonly rounds?: number;
  /** Answers kept. */
  readonly cacheSize?: number;
  readonly now?: () => number;
}

const longestTtlSeconds = 86_400;
const longestNegativeTtlSeconds = 300;
/** Kept even where the TTL is 0, so that one burst to one domain asks once. */
const shortestTtlSeconds = 1;
/** How long "nobody could say" is remembered. */
const failureTtlSeconds = 5;
/** getaddrinfo tells no TTL; cluster addresses move within seconds. */
const hostTtlSeconds = 5;

interface Remembered {
  readonly expiresMs: number;
  readonly answer: Promise<Lookup>;
}

type Lookup =
  | { readonly result: "answer"; readonly answer: WireAnswer; readonly authenticated: boolean }
  | { readonly result: "temporary" };

export function createResolver(options: ResolverOptions = {}): Dns {
  const { timeoutMs = 3000, rounds = 2, cacheSize = 20_000, now = Date.now } = options;
  const fromSystem = systemServers();
  const cache = new Map<string, Remembered>();
  const hosts = new Map<string, { readonly expiresMs: number; readonly answer: Promise<DnsResult<string>> }>();

  const currentServers = (): readonly DnsServer[] => {
    const configured = (options.servers?.() ?? []).map(parseServer).filter((server) => server !== undefined);
    return configured.length > 0 ? configured : fromSystem();
  };
  const isTrusted = (server: DnsServer): boolean =>
    isLoopback(server.address) ||
    (options.trusted?.() ?? []).some((text) => {
      const trusted = parseServer(text);
      return trusted?.address === server.address && trusted.port === server.port;
    });

  /** Every server in turn, then once more: a lost datagram and a dead resolver cost one timeout each. */
  const askServers = async (question: Question): Promise<Lookup> => {
    for (let round = 0; round < rounds; round++) {
      for (const server of currentServers()) {
        const answer = await ask(server, question, timeoutMs);
        if (answer !== undefined && (answer.rcode === "NOERROR" || answer.rcode === "NXDOMAIN")) {
          return { result: "answer", answer, authenticated: answer.authenticData && isTrusted(server) };
        }
      }
    }
    return { result: "temporary" };
  };

  const look = (name: string, type: QuestionType): Promise<Lookup> => {
    const key = `${type} ${name}`;
    const known = cache.get(key);
    if (known !== undefined && known.expiresMs > now()) return known.answer;
    const answer = askServers({ name, type });
    remember(cache, key, { expiresMs: now() + (timeoutMs + 1000) * rounds * 4, answer }, cacheSize);
    void answer.then((lookedUp) => {
      if (cache.get(key)?.answer === answer)
        remember(cache, key, { expiresMs: now() + ttlOf(lookedUp) * 1000, answer }, cacheSize);
    });
    return answer;
  };

  const query = async (name: string, type: QuestionType): Promise<Lookup | "not-a-name"> => {
    const bare = (name.endsWith(".") ? name.slice(0, -1) : name).toLowerCase();
    return isQueryName(bare) ? await look(bare, type) : "not-a-name";
  };

  return {
    async mx(domain) {
      return toResult(await query(domain, "MX"), (answer) => answer.exchanges);
    },

    async addresses(host) {
      const [four, six] = await Promise.all([query(host, "A"), query(host, "AAAA")]);
      const both = [toResult(four, (answer) => answer.addresses), toResult(six, (answer) => answer.addresses)];
      const found = both.filter((result) => result.kind === "found");
      if (found.length > 0) {
        return {
          kind: "found",
          answers: found.flatMap((result) => result.answers),
          authenticated: found.every((result) => result.authenticated),
          ttlSeconds: Math.min(...found.map((result) => result.ttlSeconds)),
        };
      }
      if (both.some((result) => result.kind === "temporary")) return { kind: "temporary" };
      return { kind: both.every((result) => result.kind === "nxdomain") ? "nxdomain" : "nodata" };
    },

    async a(name) {
      return toResult(await query(name, "A"), (answer) => answer.addresses);
    },

    async txt(name) {
      return toResult(await query(name, "TXT"), (answer) => answer.texts);
    },

    async pointer(address) {
      return toResult(await query(pointerName(address), "PTR"), (answer) => answer.texts);
    },

    hostAddresses(host) {
      const literal = host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
      if (ipaddr.isValid(literal))
        return Promise.resolve({
          kind: "found",
          answers: [literal],
          authenticated: true,
          ttlSeconds: longestTtlSeconds,
        });
      const known = hosts.get(host);
      if (known !== undefined && known.expiresMs > now()) return known.answer;
      const answer = lookup(literal, { all: true, order: "verbatim" }).then(
        (all): DnsResult<string> =>
          all.length === 0
            ? { kind: "temporary" }
            : {
                kind: "found",
                answers: [...new Set(all.map(({ address }) => address))],
                authenticated: false,
                ttlSeconds: hostTtlSeconds,
              },
        (): DnsResult<string> => ({ kind: "temporary" }),
      );
      remember(hosts, host, { expiresMs: now() + hostTtlSeconds * 1000, answer }, cacheSize);
      return answer;
    },
  };
}

/** RFC 1035 §3.5, RFC 3596 §2.5; "" for what is no address. */
export function pointerName(address: string): string {
  const bare = address.split("%")[0] ?? "";
  if (!ipaddr.isValid(bare)) return "";
  const parsed = ipaddr.process(bare);
  const bytes = parsed.toByteArray();
  if (parsed.kind() === "ipv4") return `${bytes.toReversed().join(".")}.in-addr.arpa`;
  const nibbles = bytes.flatMap((byte) => [byte >> 4, byte & 15]);
  return `${nibbles
    .toReversed()
    .map((nibble) => nibble.toString(16))
    .join(".")}.ip6.arpa`;
}

/** Insertion order is age: the oldest entry leaves when there are too many. */
function remember<V>(cache: Map<string, V>, key: string, value: V, size: number): void {
  cache.delete(key);
  cache.set(key, value);
  if (cache.size > size) {
    const oldest = cache.keys().next();
    if (oldest.done !== true) cache.delete(oldest.value);
  }
}

function ttlOf(lookedUp: Lookup): number {
  if (lookedUp.result === "temporary") return failureTtlSeconds;
  const { answer } = lookedUp;
  const empty = answer.addresses.length === 0 && answer.exchanges.length === 0 && answer.texts.length === 0;
  const longest = empty ? longestNegativeTtlSeconds : longestTtlSeconds;
  return Math.max(shortestTtlSeconds, Math.min(longest, answer.ttlSeconds ?? 60));
}

function toResult<T>(lookedUp: Lookup | "not-a-name", records: (answer: WireAnswer) => readonly T[]): DnsResult<T> {
  if (lookedUp === "not-a-name") return { kind: "nxdomain" };
  if (lookedUp.result === "temporary") return { kind: "temporary" };
  const answers = records(lookedUp.answer);
  if (answers.length > 0)
    return { kind: "found", answers, authenticated: lookedUp.authenticated, ttlSeconds: ttlOf(lookedUp) };
  return { kind: lookedUp.answer.rcode === "NXDOMAIN" ? "nxdomain" : "nodata" };
}

function isLoopback(address: string): boolean {
  const bare = address.split("%")[0] ?? "";
  return ipaddr.isValid(bare) && ipaddr.process(bare).range() === "loopback";
}
