/**
 * Asking: gets from look-ups what routing must know of addresses that no object decides.
 *
 * Between RCPT, the scheduler and the pure functions of route/. A question is a pure function of the configuration and of what was asked: it is put with what is known, what it
 * missed is asked, and it is put again, until it misses nothing. Without look-ups, and where objects decide, the answer is there at once. An outage is remembered as
 * "unanswered" for this question alone, so the next one after it reaches the source. Never rejects for a look-up's trouble; bounded in rounds and in time.
 */
import type { LiveConfig } from "../config/schema.ts";
import { LookupUnavailable } from "../lookup/lookup.ts";
import { joined, type Lookups } from "../lookup/lookups.ts";
import { recipientFacts } from "../lookup/recipient.ts";
import { tlsPolicyKeys, transportKeys } from "../lookup/search-order.ts";
import { parseTlsPolicy, parseTransport } from "../lookup/values.ts";
import type { Log } from "../observe/log.ts";
import type { Reply } from "../reply.ts";
import type { Asked, AskedRecipient, AskedTlsPolicy, AskedTransport, Routing } from "./asked.ts";
import { readDestinations } from "./destinations.ts";
import { deepestExpansion } from "./expansion.ts";
import { routeReplies } from "./replies.ts";
import type { Resolution, ResolveRecipient, StandingOf } from "./resolve.ts";
import { resolveRecipient } from "./recipient.ts";
import { standingOf } from "./standing.ts";

export type Ask = <T>(config: LiveConfig, question: (routing: Routing) => T) => T | Promise<T>;

/** Questions under way for one address or message. */
const AT_ONCE = 32;
/** Whoever is asked longer than this for one address or message has no answer for it now. */
const MAX_MS = 60_000;

/** Answers of one kind, and what was missed. */
class Answers<A> {
  readonly #known = new Map<string, A>();
  readonly #missed = new Set<string>();

  get(key: string): A | undefined {
    const answer = this.#known.get(key);
    if (answer === undefined) this.#missed.add(key);
    return answer;
  }

  get missing(): number {
    return this.#missed.size;
  }

  async ask(question: (key: string) => Promise<A>): Promise<void> {
    const keys = [...this.#missed];
    this.#missed.clear();
    const worker = async (): Promise<void> => {
      for (let key = keys.pop(); key !== undefined; key = keys.pop()) this.#known.set(key, await question(key));
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, keys.length) }, worker));
  }
}

const nothing: Asked = { recipient: () => undefined, transport: () => undefined, tlsPolicy: () => undefined };

export class Asking {
  readonly #lookups: () => Lookups;
  readonly #log: Log;
  readonly #now: () => number;

  constructor(lookups: () => Lookups, log: Log, now: () => number = () => performance.now()) {
    this.#lookups = lookups;
    this.#log = log;
    this.#now = now;
  }

  readonly standingOf: StandingOf = (config, address) => this.ask(config, (routing) => standingOf(routing, address));

  readonly resolve = (
    config: LiveConfig,
    address: string,
    options: Parameters<ResolveRecipient>[2],
  ): Resolution | Promise<Resolution> => this.ask(config, (routing) => resolveRecipient(routing, address, options));

  readonly ask: Ask = (config, question) => {
    const lookups = this.#lookups();
    const asksRecipients = lookups.has("domains") || lookups.has("aliases") || lookups.has("mailboxes");
    const asksTransports = lookups.has("transports");
    const asksTls = lookups.has("tlsPolicies");
    if (!asksRecipients && !asksTransports && !asksTls) return question(config);
    const recipients = new Answers<AskedRecipient>();
    const transports = new Answers<AskedTransport>();
    const tlsPolicies = new Answers<AskedTlsPolicy>();
    const asked: Asked = {
      ...nothing,
      ...(asksRecipients ? { recipient: (key) => this.#decided(config, lookups, key) ?? recipients.get(key) } : {}),
      ...(asksTransports ? { transport: (key) => transports.get(key) } : {}),
      ...(asksTls ? { tlsPolicy: (key) => tlsPolicies.get(key) } : {}),
    };
    const routing: Routing = { ...config, asked };
    const isSettled = (): boolean => recipients.missing + transports.missing + tlsPolicies.missing === 0;
    const first = question(routing);
    if (isSettled()) return first;
    const untilMs = this.#now() + MAX_MS;
    return (async () => {
      // An expansion ends by itself before that.
      for (let round = 0; round <= deepestExpansion + 4; round++) {
        const late = this.#now() > untilMs;
        await recipients.ask((key) => (late ? unanswered : this.#recipient(config, lookups, key)));
        await transports.ask((key) => (late ? noTransport : this.#transport(config, lookups, key)));
        await tlsPolicies.ask((key) => (late ? noTlsPolicy : this.#tlsPolicy(lookups, key)));
        const answer = question(routing);
        if (isSettled()) return answer;
      }
      throw new Error("a question about addresses does not settle");
    })();
  };

  /** Nobody can say anything about it: no source knows domains, and no object calls this one ours. */
  #decided({ domains }: LiveConfig, lookups: Lookups, key: string): AskedRecipient | undefined {
    return domains.has(domainOf(key)) || lookups.has("domains") ? undefined : { kind: "not-ours" };
  }

  async #recipient({ domains, server }: LiveConfig, lookups: Lookups, key: string): Promise<AskedRecipient> {
    const domainIsOurs = domains.has(domainOf(key));
    try {
      const facts = await recipientFacts(lookups, {
        address: key,
        delimiters: server.recipientDelimiters,
        domainIsOurs,
      });
      if (facts.kind === "not-ours" || facts.kind === "unknown") return facts;
      const extended = facts.answer.key !== key;
      if (facts.kind === "mailbox") return { kind: "mailbox", extended };
      const destinations = readDestinations(facts.destinations, domainOf(key));
      if (!destinations.ok) {
        this.#unreadable(facts.answer.lookup, "aliases", destinations.error);
        return { kind: "unanswered" };
      }
      return facts.catchAll
        ? { kind: "catch-all", destinations: destinations.value }
        : { kind: "alias", destinations: destinations.value, extended };
    } catch (cause) {
      this.#failed(cause);
      return { kind: "unanswered" };
    }
  }

  async #transport({ server }: LiveConfig, lookups: Lookups, key: string): Promise<AskedTransport> {
    try {
      const answer = await lookups.first("transports", transportKeys(key, server.recipientDelimiters));
      if (answer === undefined) return { kind: "none" };
      const read = parseTransport(joined(answer.values));
      if (read.ok) return { kind: "found", value: read.value, isDefault: answer.key === "*" };
      this.#unreadable(answer.lookup, "transports", read.error);
      return failed(routeReplies.transportUnreadable);
    } catch (cause) {
      this.#failed(cause);
      return await noTransport;
    }
  }

  async #tlsPolicy(lookups: Lookups, key: string): Promise<AskedTlsPolicy> {
    try {
      const answer = await lookups.first("tlsPolicies", tlsPolicyKeys(key));
      if (answer === undefined) return { kind: "none" };
      const read = parseTlsPolicy(joined(answer.values));
      // As for objects: DANE only asks for what it can get, and gets nothing yet.
      if (read.ok) return read.value.level === "DANE" ? { kind: "none" } : { kind: "found", policy: read.value };
      this.#unreadable(answer.lookup, "tlsPolicies", read.error);
      return failed(routeReplies.tlsPolicyUnreadable);
    } catch (cause) {
      this.#failed(cause);
      return await noTlsPolicy;
    }
  }

  #unreadable(lookup: string, role: string, reason: string): void {
    this.#log.error({ lookup, role, reason }, "lookup answer cannot be used");
  }

  /** Look-ups tell of outages themselves. */
  #failed(cause: unknown): void {
    if (!(cause instanceof LookupUnavailable)) this.#log.error({ reason: String(cause) }, "lookup failed");
  }
}

const domainOf = (key: string): string => key.slice(key.lastIndexOf("@") + 1);
const failed = (reply: Reply): { readonly kind: "failed"; readonly reply: Reply } => ({ kind: "failed", reply });
const unanswered: Promise<AskedRecipient> = Promise.resolve({ kind: "unanswered" });
const noTransport: Promise<AskedTransport> = Promise.resolve(failed(routeReplies.lookupFailed));
const noTlsPolicy: Promise<AskedTlsPolicy> = Promise.resolve(failed(routeReplies.lookupFailed));
