/**
 * Lookups: every source of the configuration behind the one question "what does role R say of key K?".
 *
 * Asked by session and route with the configuration of the moment. Sources are asked in their order, the first that has an answer wins; one that cannot answer ends the
 * question (LookupUnavailable → 451 4.3.0): a later source must not say "unknown user" for a mailbox that the first one has. Keys are in lower case before anybody sees them.
 * Sources whose settings and secrets did not change are taken over by the next configuration, with their connections.
 */
import { canonicalJson, sha256 } from "../config/canonical.ts";
import {
  type LookupRole,
  type LookupSource,
  rolesOf,
  type TableSource,
  type UnusableSource,
} from "../config/lookups.ts";
import type { LiveConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import { lookupAvailable, lookupSeconds } from "../observe/metrics.ts";
import { createLdap } from "./ldap.ts";
import { type Lookup, type LookupKey, LookupUnavailable } from "./lookup.ts";
import { createMysql } from "./mysql.ts";
import { Remembered } from "./remembered.ts";
import { createSocketmap } from "./socketmap.ts";
import type { Source, SourceEvents, SourceSecrets } from "./source.ts";
import { Table } from "./table.ts";

export interface Lookups {
  /** Is there anybody to ask? Without, no question costs anything. */
  has(role: LookupRole): boolean;
  /** Those that answer for a role, in their order. */
  names(role: LookupRole): readonly string[];
  /**
   * The values for the first key that any source knows. All sources are asked for the first key, then for the second: as Postfix. The first key is asked alone, because it
   * answers most questions; the others at once, so that a miss costs two round trips to a source. `sources`: ask only these, by their names; of inline tables, whatever
   * their roles. Throws LookupUnavailable and nothing else.
   */
  first(
    role: LookupRole,
    keys: LookupKey | readonly LookupKey[],
    sources?: readonly string[],
  ): Promise<Answer | undefined>;
  /** An inline table by its name, for settings that name one. */
  table(name: string): Table | undefined;
  /** End the connections of sources that no newer configuration took over. */
  close(): Promise<void>;
}

export interface Answer {
  /** Which source said so; for the log. */
  readonly lookup: string;
  readonly key: LookupKey;
  readonly values: readonly string[];
}

/** Values as one text, as Postfix joins them. */
export const joined = (values: readonly string[]): string => values.join(",");

/** Values that are lists of addresses (`a@x, b@y`), apart. Commas within quotes belong to the address. */
export const addressesOf = (values: readonly string[]): string[] =>
  values.flatMap((value) =>
    [...value.matchAll(/(?:"(?:[^"\\]|\\.)*"|[^,"])+/g)]
      .map(([address]) => address.trim())
      .filter((address) => address !== ""),
  );

/** What a configuration needs to know to make its sources: a part of LiveConfig. */
export type LookupConfig = Pick<LiveConfig, "credentials" | "authorities" | "certificates"> & {
  readonly server: { readonly lookups: readonly LookupSource[] };
};

/** A source in use: the lookups of its roles, and how many configurations hold it. */
interface Running {
  readonly fingerprint: string;
  readonly name: string;
  readonly lookups: ReadonlyMap<LookupRole, Lookup>;
  readonly table: Table | undefined;
  readonly source: Source | undefined;
}

/** Those that answer over the network. */
type AskedSource = Exclude<LookupSource, TableSource | UnusableSource>;

class Measured implements Lookup {
  readonly name: string;
  readonly wholeKeyOnly: boolean;
  readonly #lookup: Lookup;
  readonly #role: LookupRole;
  readonly #isAvailable: () => boolean;
  readonly #log: Log;
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor(lookup: Lookup, role: LookupRole, isAvailable: () => boolean, log: Log) {
    this.name = lookup.name;
    this.wholeKeyOnly = lookup.wholeKeyOnly;
    this.#lookup = lookup;
    this.#role = role;
    this.#isAvailable = isAvailable;
    this.#log = log;
  }

  async get(key: LookupKey): Promise<readonly string[] | undefined> {
    const startedMs = performance.now();
    const count = (result: "found" | "missing" | "unavailable"): void => {
      lookupSeconds.observe({ lookup: this.name, role: this.#role, result }, (performance.now() - startedMs) / 1000);
      lookupAvailable.set({ lookup: this.name }, this.#isAvailable() ? 1 : 0);
    };
    try {
      const values = await this.#lookup.get(key);
      count(values === undefined ? "missing" : "found");
      return values;
    } catch (cause) {
      count("unavailable");
      const outage =
        cause instanceof LookupUnavailable ? cause : new LookupUnavailable(this.name, "question", "failed", cause);
      this.#tell(outage);
      throw outage;
    }
  }

  /** Once in ten seconds: thousands of clients may ask the same. */
  #tell({ scope, message }: LookupUnavailable): void {
    const nowMs = performance.now();
    if (nowMs - this.#toldMs < 10_000) return;
    this.#toldMs = nowMs;
    this.#log.warn({ lookup: this.name, role: this.#role, scope, reason: message }, "lookup unavailable");
  }
}

const secretsOf = (source: LookupSource, config: LookupConfig): SourceSecrets => {
  if (source.kind !== "mysql" && source.kind !== "ldap") return {};
  const credentials = source.credentials === undefined ? undefined : config.credentials.get(source.credentials);
  const authority = source.tls?.authority === undefined ? undefined : config.authorities.get(source.tls.authority);
  const certificate =
    source.tls?.clientCertificate === undefined ? undefined : config.certificates.get(source.tls.clientCertificate);
  return {
    ...(credentials === undefined ? {} : { credentials }),
    ...(authority === undefined ? {} : { authority }),
    ...(certificate === undefined ? {} : { clientCertificate: certificate }),
  };
};

/** A Secret that is named but not there: asked without it, a server might answer other things, or hear what it should not. */
function missingSecret(source: LookupSource, secrets: SourceSecrets): string | undefined {
  if (source.kind !== "mysql" && source.kind !== "ldap") return undefined;
  if (source.credentials !== undefined && secrets.credentials === undefined) return source.credentials;
  if (source.tls?.authority !== undefined && secrets.authority === undefined) return source.tls.authority;
  if (source.tls?.clientCertificate !== undefined && secrets.clientCertificate === undefined)
    return source.tls.clientCertificate;
  return undefined;
}

/** In its place in the order it says for every key that nobody knows. */
function unusable(name: string, roles: readonly LookupRole[], reason: string): Source {
  const lookup: Lookup = {
    name,
    wholeKeyOnly: false,
    get: () => Promise.reject(new LookupUnavailable(name, "source", reason)),
  };
  return {
    lookups: new Map(roles.map((role) => [role, lookup])),
    isAvailable: () => false,
    close: () => Promise.resolve(),
  };
}

function open(source: AskedSource | UnusableSource, secrets: SourceSecrets, events: SourceEvents): Source {
  if (source.kind === "unusable") return unusable(source.name, source.roles, source.reason);
  const missing = missingSecret(source, secrets);
  if (missing !== undefined) return unusable(source.name, rolesOf(source), `Secret ${missing} is missing`);
  try {
    if (source.kind === "mysql") return createMysql(source, secrets, events);
    if (source.kind === "ldap") return createLdap(source, secrets, events);
    return createSocketmap(source, events);
  } catch (cause) {
    // The operator refuses such settings; if one comes through all the same, mail waits for a person.
    return unusable(source.name, rolesOf(source), cause instanceof Error ? cause.message : "cannot be used");
  }
}

const uncached = { entries: 0, ttlMs: 0, negativeTtlMs: 0 };

function start(source: LookupSource, secrets: SourceSecrets, fingerprint: string, log: Log): Running {
  const { name } = source;
  if (source.kind === "table") {
    const table = new Table(source);
    return { fingerprint, name, table, source: undefined, lookups: new Map(source.roles.map((role) => [role, table])) };
  }
  const opened = open(source, secrets, {
    changed: (lookup, host, up, reason) => {
      lookupAvailable.set({ lookup }, opened.isAvailable() ? 1 : 0);
      if (up) log.info({ lookup, host }, "lookup host is back");
      else log.warn({ lookup, host, reason }, "lookup host is down");
    },
  });
  lookupAvailable.set({ lookup: name }, opened.isAvailable() ? 1 : 0);
  const lookups = new Map<LookupRole, Lookup>();
  for (const [role, lookup] of opened.lookups) {
    const measured = new Measured(lookup, role, opened.isAvailable, log);
    // A password that was taken away must not open the door for one more moment.
    const cache = role === "passwords" || source.kind === "unusable" ? uncached : source.cache;
    lookups.set(role, new Remembered(measured, cache));
  }
  return { fingerprint, name, table: undefined, source: opened, lookups };
}

class ConfiguredLookups implements Lookups {
  readonly running: readonly Running[];
  readonly #byRole = new Map<LookupRole, Lookup[]>();
  readonly #takenOver = new Set<Running>();

  constructor(running: readonly Running[]) {
    this.running = running;
    for (const { lookups } of running)
      for (const [role, lookup] of lookups) this.#byRole.set(role, [...(this.#byRole.get(role) ?? []), lookup]);
  }

  has(role: LookupRole): boolean {
    return this.#byRole.has(role);
  }

  names(role: LookupRole): readonly string[] {
    return (this.#byRole.get(role) ?? []).map(({ name }) => name);
  }

  /** In the order of the configuration. */
  #named(role: LookupRole, names: readonly string[]): readonly Lookup[] {
    return this.running.flatMap(({ name, lookups, table }) => {
      const lookup = names.includes(name) ? (lookups.get(role) ?? table) : undefined;
      return lookup === undefined ? [] : [lookup];
    });
  }

  table(name: string): Table | undefined {
    return this.running.find((each) => each.table?.name === name)?.table;
  }

  async first(
    role: LookupRole,
    keys: LookupKey | readonly LookupKey[],
    sources?: readonly string[],
  ): Promise<Answer | undefined> {
    const lookups = sources === undefined ? this.#byRole.get(role) : this.#named(role, sources);
    if (lookups === undefined || lookups.length === 0) return undefined;
    const [whole, ...parts] = (typeof keys === "string" ? [keys] : keys).map((key) => key.toLowerCase());
    if (whole === undefined || whole === "") return undefined;
    const found = await inOrder(lookups, whole);
    if (found !== undefined || parts.length === 0) return found;
    const partial = lookups.filter((lookup) => !lookup.wholeKeyOnly);
    const answers = parts.map((key) => inOrder(partial, key));
    // A later key's outage does not matter once an earlier key has its answer.
    for (const answer of answers) answer.catch(() => undefined);
    for (const answer of answers) {
      const values = await answer;
      if (values !== undefined) return values;
    }
    return undefined;
  }

  takeOver(fingerprint: string): Running | undefined {
    const running = this.running.find((each) => each.fingerprint === fingerprint && !this.#takenOver.has(each));
    if (running !== undefined) this.#takenOver.add(running);
    return running;
  }

  async close(): Promise<void> {
    await Promise.allSettled(
      this.running
        .filter((running) => !this.#takenOver.has(running))
        .map(async ({ source }) => {
          await source?.close();
        }),
    );
  }
}

async function inOrder(lookups: readonly Lookup[], key: LookupKey): Promise<Answer | undefined> {
  for (const lookup of lookups) {
    const values = await lookup.get(key);
    if (values !== undefined) return { lookup: lookup.name, key, values };
  }
  return undefined;
}

/**
 * The lookups of a configuration. `previous`: what ran until now; its unchanged sources go on with their connections and caches, the others are for the caller to close
 * (`previous.close()`) when no question of the old configuration is under way.
 */
export function createLookups(config: LookupConfig, log: Log, previous?: Lookups): Lookups {
  const old = previous instanceof ConfiguredLookups ? previous : undefined;
  const running = config.server.lookups.map((source) => {
    const secrets = secretsOf(source, config);
    const fingerprint = sha256(canonicalJson({ source, secrets }));
    return old?.takeOver(fingerprint) ?? start(source, secrets, fingerprint, log);
  });
  const names = new Set(running.map(({ name }) => name));
  for (const { name } of old?.running ?? []) if (!names.has(name)) lookupAvailable.remove({ lookup: name });
  return new ConfiguredLookups(running);
}
