/**
 * Password source: one back end that can say whether a password is a user's. The port; Mailbox objects, hashes from look-ups (MySQL), LDAP and Dovecot stand behind it.
 *
 * Promise: a source answers, it never throws. What it cannot find out is "unavailable" (454), never "mismatch" (535). Unknown users get "mismatch" after the
 * same work as known ones.
 */
import type { LiveConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import { decoyFor } from "./decoy.ts";
import type { PasswordVerifier } from "./verifier.ts";

/** Who is asking, for back ends that have limits of their own. */
export interface ClientEnd {
  readonly address: string;
  readonly port: number;
}

export interface Attempt {
  readonly config: LiveConfig;
  /** As the client wrote it. */
  readonly username: string;
  /** As a key of the tables, with the default domain; undefined when it cannot be an address. */
  readonly user: string | undefined;
  readonly password: string;
  readonly client: ClientEnd;
}

export type SourceAnswer =
  | { readonly kind: "match"; readonly user: string }
  | { readonly kind: "mismatch" }
  | { readonly kind: "unavailable"; readonly why: string };

export interface PasswordSource {
  readonly name: "mailboxes" | "lookups" | "ldap" | "dovecot";
  check(attempt: Attempt): Promise<SourceAnswer>;
  close(): Promise<void>;
}

/** Where stored hashes come from. `hash` undefined: no such user. A look-up that fails rejects. */
export interface HashLookup {
  readonly name: "mailboxes" | "lookups";
  hash(attempt: Attempt): Promise<string | undefined> | string | undefined;
  /** All hashes there are, where they are at hand; else those that come by are what unknown users are imitated by. */
  readonly all?: (config: LiveConfig) => ReadonlyMap<string, string>;
}

/** Hashes of a look-up that are remembered to imitate. */
const MOST_SEEN = 64;

/** A source of hashes that are checked here. */
export class HashSource implements PasswordSource {
  readonly name: HashLookup["name"];
  readonly #lookup: HashLookup;
  readonly #verifier: PasswordVerifier;
  readonly #log: Log;
  readonly #seen = new Map<string, string>();

  constructor(lookup: HashLookup, verifier: PasswordVerifier, log: Log) {
    this.name = lookup.name;
    this.#lookup = lookup;
    this.#verifier = verifier;
    this.#log = log;
  }

  async check(attempt: Attempt): Promise<SourceAnswer> {
    const { config, username, user, password } = attempt;
    let stored: string | undefined;
    try {
      stored = await this.#lookup.hash(attempt);
    } catch (error) {
      return { kind: "unavailable", why: error instanceof Error ? error.message : String(error) };
    }
    const known = this.#lookup.all?.(config) ?? this.#remember(stored);
    // Where no mailbox has a password, all names are alike without any work.
    if (known.size === 0 && stored === undefined && this.#lookup.all !== undefined) return { kind: "mismatch" };
    const decoy = decoyFor(known, user ?? username, config.server.authentication.saltKey);
    const result = await this.#verifier.verify(stored, password, decoy);
    switch (result) {
      case "match":
        return user === undefined ? { kind: "mismatch" } : { kind: "match", user };
      case "mismatch":
        return { kind: "mismatch" };
      case "unusable-hash":
        this.#log.error({ user, source: this.name }, "auth-hash-unusable");
        return { kind: "unavailable", why: "unusable hash" };
      case "unavailable":
        return { kind: "unavailable", why: "too many verifications wait, or the worker died" };
      default:
        return result satisfies never;
    }
  }

  #remember(stored: string | undefined): ReadonlyMap<string, string> {
    // Whose they are does not matter, only of which kinds.
    const kind = stored?.slice(0, 24);
    if (kind !== undefined && stored !== undefined && this.#seen.size < MOST_SEEN) this.#seen.set(kind, stored);
    return this.#seen;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Mailbox objects. One that may not log in is as unknown as one that does not exist. */
export const mailboxHashes: HashLookup = {
  name: "mailboxes",
  hash: ({ config, user }) => {
    if (user === undefined) return undefined;
    const mailbox = config.addresses.get(user)?.mailbox;
    return mailbox?.authentication === true && !mailbox.suspended ? config.passwords.get(user) : undefined;
  },
  all: (config) => config.passwords,
};

/** As much of lookup/ as this needs. */
export interface PasswordLookups {
  has(role: "passwords"): boolean;
  /** Rejects when nobody knows. */
  first(role: "passwords", key: string): Promise<{ readonly values: readonly string[] } | undefined>;
}

/** Hashes that the lookups of the configuration know, by login name. Several for one name are an error, not a choice. */
export const lookupHashes = (lookups: () => PasswordLookups | undefined): HashLookup => ({
  name: "lookups",
  hash: async ({ user, username }) => {
    const answer = await lookups()?.first("passwords", user ?? username);
    if (answer === undefined) return undefined;
    const [hash, another] = answer.values;
    if (another !== undefined) throw new Error("several passwords for one login name");
    return hash;
  },
});
