/**
 * LDAP: the searches of one source over one kept connection to the first server that is up.
 *
 * A key goes into a filter only as RFC 4515 §3 escapes it and into a search base as RFC 4514 §2.4 does, so it can never become a part of either. Values of the result attributes are the
 * answer; reference attributes (ldap_table(5): special_result_attribute) name entries that are read in turn. No such entry is "does not exist"; everything else the server refuses is an outage.
 */
import { connect as dial, isIP } from "node:net";
import { checkServerIdentity as checkIdentity, connect as dialTls, type ConnectionOptions } from "node:tls";
import type { Client, Entry } from "ldapts";
import { expandTemplate, parseTemplate, type Piece } from "../config/lookup-template.ts";
import type { LdapSearch, LdapSource } from "../config/lookups.ts";
import { AnswerShape } from "./answer.ts";
import { type Failover, type FailureKind, type Host, HostDown } from "./failover.ts";
import { ldapDriver } from "./ldap-driver.ts";
import { type Lookup, LookupUnavailable } from "./lookup.ts";
import { createSource, type Source, type SourceEvents, type SourceSecrets, TimedOut, withTimeout } from "./source.ts";

/** Entries that references may lead through, the first included. */
const MAX_ENTRIES = 1000;
/** References of references: more is a circle. */
const MAX_DEPTH = 8;

/** RFC 4515 §3: octets that mean something in a filter, and everything that is not printable ASCII, as `\xx`. */
export const escapeFilter = (text: string): string =>
  [...Buffer.from(text, "utf8")]
    .map((octet) =>
      octet < 0x20 || octet > 0x7e || "*()\\".includes(String.fromCharCode(octet))
        ? `\\${octet.toString(16).padStart(2, "0")}`
        : String.fromCharCode(octet),
    )
    .join("");

/** RFC 4514 §2.4: as hexadecimal pairs, whatever could end a value. */
export const escapeDn = (text: string): string =>
  [...Buffer.from(text, "utf8")]
    .map((octet) =>
      octet <= 0x20 || octet > 0x7e || '"+,;<>\\=#'.includes(String.fromCharCode(octet))
        ? `\\${octet.toString(16).padStart(2, "0")}`
        : String.fromCharCode(octet),
    )
    .join("");

/** RFC 4511 appendix A.2: results that speak of the question. 52 (unavailable), 51 (busy), 49 (invalid credentials) and the like speak of the server. */
const questionCodes = new Set([3, 4, 12, 16, 17, 18, 21, 32, 33, 34, 36, 50, 53]);
const NO_SUCH_OBJECT = 32;

const resultCode = (cause: unknown): number | undefined =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "number"
    ? cause.code
    : undefined;

function kindOf(cause: unknown): FailureKind {
  if (cause instanceof HostDown) return "host";
  if (cause instanceof LookupUnavailable) return cause.scope === "source" ? "host" : "question";
  // Slow is not gone; whether it is gone, its probe tells.
  if (cause instanceof TimedOut) return "question";
  const code = resultCode(cause);
  return code !== undefined && questionCodes.has(code) ? "question" : "host";
}

function reasonOf(cause: unknown): string {
  if (cause instanceof HostDown) return reasonOf(cause.cause);
  if (cause instanceof LookupUnavailable) return cause.message.slice(cause.lookup.length + 2);
  if (cause instanceof TimedOut) return cause.message;
  const code = typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "";
  const name = cause instanceof Error ? cause.name : "failed";
  return code === "" ? name : `${name} (${code})`;
}

class LdapHost implements Host {
  readonly name: string;
  readonly #source: LdapSource;
  readonly #secrets: SourceSecrets;
  #client: Promise<Client> | undefined;

  constructor(source: LdapSource, url: string, secrets: SourceSecrets) {
    this.name = url;
    this.#source = source;
    this.#secrets = secrets;
  }

  #tlsOptions(): ConnectionOptions {
    const { authority, clientCertificate } = this.#secrets;
    const serverName = this.#source.tls?.serverName ?? new URL(this.name).hostname.replace(/^\[|\]$/g, "");
    return {
      minVersion: "TLSv1.2",
      host: serverName,
      ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
      ...(authority === undefined ? {} : { ca: authority }),
      ...(clientCertificate === undefined
        ? {}
        : { cert: clientCertificate.certificate, key: clientCertificate.privateKey }),
    };
  }

  async #connect(): Promise<Client> {
    const ldapts = await ldapDriver();
    const isSecure = this.name.startsWith("ldaps:");
    let dialled = false;
    /** ldapts connects again by itself when the other side hung up; after StartTLS that would be in the clear, password included. */
    const once = (): void => {
      if (dialled) throw Object.assign(new Error("connection closed"), { code: "ECONNRESET" });
      dialled = true;
    };
    const client = new ldapts.Client({
      url: this.name,
      // Ours comes first.
      timeout: this.#source.timeoutMs + 1000,
      connectTimeout: this.#source.connectTimeoutMs,
      strictDN: false,
      ...(isSecure
        ? {
            tlsOptions: this.#tlsOptions(),
            // The name to verify is not always the name to dial.
            createSecureConnection: ((port: number, host: string, options: ConnectionOptions) => {
              once();
              return dialTls({ ...options, host, port, checkServerIdentity: this.#verify });
            }) as typeof dialTls,
          }
        : {
            createConnection: ((port: number, host: string) => {
              once();
              return dial(port, host);
            }) as typeof dial,
          }),
    });
    try {
      if (this.#source.startTls && !isSecure)
        await client.startTLS({ ...this.#tlsOptions(), checkServerIdentity: this.#verify });
      const { username = "", password = "" } = this.#secrets.credentials ?? {};
      await client.bind(username, password);
      return client;
    } catch (cause) {
      await client.unbind().catch(() => undefined);
      throw cause;
    }
  }

  readonly #verify: NonNullable<ConnectionOptions["checkServerIdentity"]> = (_, certificate) => {
    const name = this.#source.tls?.serverName ?? new URL(this.name).hostname.replace(/^\[|\]$/g, "");
    return checkIdentity(name, certificate);
  };

  async #connected(): Promise<Client> {
    const client = this.#client;
    if (client !== undefined) {
      const open = await client;
      if (open.isConnected) return open;
      // ldapts would connect again by itself, but neither with StartTLS nor bound.
      if (this.#client === client) this.#client = undefined;
    }
    this.#client ??= this.#connect();
    const mine = this.#client;
    mine.catch(() => {
      if (this.#client === mine) this.#client = undefined;
    });
    return await mine;
  }

  async probe(): Promise<void> {
    const client = await withTimeout(this.#connected(), this.#source.connectTimeoutMs, "no connection in time");
    await withTimeout(
      client.search("", { scope: "base", filter: "(objectClass=*)", attributes: ["1.1"] }).catch((cause: unknown) => {
        // Not everybody may read the root, but an answer is an answer.
        if (resultCode(cause) === undefined || kindOf(cause) === "host") throw cause;
      }),
      this.#source.connectTimeoutMs,
      "no answer in time",
    );
  }

  async search(
    base: string,
    scope: LdapSearch["scope"],
    filter: string,
    attributes: readonly string[],
    limit: number,
  ): Promise<Entry[]> {
    const client = await this.#connected();
    const { searchEntries } = await withTimeout(
      client.search(base, {
        scope,
        filter,
        attributes: [...attributes],
        sizeLimit: limit,
        timeLimit: Math.ceil(this.#source.timeoutMs / 1000),
      }),
      this.#source.timeoutMs,
      "no answer in time",
    );
    return searchEntries;
  }

  reset(): void {
    const client = this.#client;
    this.#client = undefined;
    void client?.then((open) => open.unbind()).catch(() => undefined);
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    await (await client?.catch(() => undefined))?.unbind().catch(() => undefined);
  }
}

class LdapLookup implements Lookup {
  readonly name: string;
  readonly wholeKeyOnly = false;
  readonly #hosts: Failover<LdapHost>;
  readonly #search: LdapSearch;
  readonly #shape: AnswerShape;
  readonly #filter: readonly Piece[];
  readonly #base: readonly Piece[];

  constructor(name: string, hosts: Failover<LdapHost>, search: LdapSearch) {
    const filter = parseTemplate(search.filter, "key");
    const base = parseTemplate(search.base, "key");
    if (!filter.ok) throw new TypeError(`${name}: filter: ${filter.error}`);
    if (!base.ok) throw new TypeError(`${name}: base: ${base.error}`);
    this.name = name;
    this.#hosts = hosts;
    this.#search = search;
    this.#filter = filter.value;
    this.#base = base.value;
    this.#shape = new AnswerShape(name, search);
  }

  async get(key: string): Promise<readonly string[] | undefined> {
    if (!this.#shape.mayAsk(key)) return undefined;
    const filter = expandTemplate(this.#filter, key, "", escapeFilter);
    const base = expandTemplate(this.#base, key, "", escapeDn);
    if (filter === undefined || base === undefined) return undefined;
    try {
      await ldapDriver();
      const values = await this.#hosts.ask((host) => this.#values(host, base, filter));
      return this.#shape.valuesOf(key, values);
    } catch (cause) {
      if (cause instanceof LookupUnavailable) throw cause;
      throw new LookupUnavailable(this.name, kindOf(cause) === "host" ? "source" : "question", reasonOf(cause));
    }
  }

  async #values(host: LdapHost, base: string, filter: string): Promise<string[]> {
    const { attributes, referenceAttributes, scope, expansionLimit } = this.#search;
    const wanted = [...attributes, ...referenceAttributes];
    const values: string[] = [];
    const seen = new Set<string>();
    const read = async (at: string, where: LdapSearch["scope"], which: string, depth: number): Promise<void> => {
      const entries = await host
        .search(at, where, which, wanted.length === 0 ? ["1.1"] : wanted, Math.min(expansionLimit, MAX_ENTRIES) + 1)
        .catch((cause: unknown) => {
          if (resultCode(cause) === NO_SUCH_OBJECT) return [];
          throw cause;
        });
      for (const entry of entries) {
        if (seen.size >= MAX_ENTRIES)
          throw new LookupUnavailable(this.name, "question", `more than ${MAX_ENTRIES} entries`);
        if (seen.has(entry.dn.toLowerCase())) continue;
        seen.add(entry.dn.toLowerCase());
        for (const attribute of attributes) values.push(...textsOf(entry, attribute));
        for (const attribute of referenceAttributes)
          for (const dn of textsOf(entry, attribute)) {
            if (depth >= MAX_DEPTH) throw new LookupUnavailable(this.name, "question", "references lead too deep");
            if (!seen.has(dn.toLowerCase())) await read(dn, "base", "(objectClass=*)", depth + 1);
          }
      }
    };
    await read(base, scope, filter, 1);
    return values;
  }
}

/** Attribute names are compared without case, and options (`mail;lang-de`) belong to the attribute. */
function textsOf(entry: Entry, attribute: string): string[] {
  const wanted = attribute.toLowerCase();
  return Object.entries(entry)
    .filter(([name]) => name !== "dn" && (name.toLowerCase() === wanted || name.toLowerCase().startsWith(`${wanted};`)))
    .flatMap(([, value]) => (Array.isArray(value) ? value : [value]))
    .map((value) => (typeof value === "string" ? value : value.toString("utf8")));
}

export function createLdap(source: LdapSource, secrets: SourceSecrets, events: SourceEvents): Source {
  void ldapDriver().catch(() => undefined);
  return createSource(source, events, {
    hosts: source.urls.map((url) => new LdapHost(source, url, secrets)),
    kindOf,
    reasonOf,
    questions: source.searches,
    lookup: (hosts, search) => new LdapLookup(source.name, hosts, search),
  });
}
