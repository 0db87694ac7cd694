/**
 * LDAP back end: search for the user's entry, then bind as it with the password.
 *
 * A connection for each login, of which a few run at once, some wait, and the rest is "unavailable". Servers are tried in order, the one that answered last time
 * first; each has its share of the time limit. Nothing but TLS is spoken after StartTLS was asked for: a connection that breaks is never opened anew in
 * the clear. An empty password never becomes a bind, because that would be an anonymous one and succeed. A name without an entry costs a bind too.
 * RFC 4511 §4.2, §4.14 (StartTLS), RFC 4513 §5.1.2 (unauthenticated bind).
 */
import { randomUUID } from "node:crypto";
import { connect, isIP, type Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import type { Client } from "ldapts";
import type { AuthenticationSettings, LiveConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import { type LdapDriver, ldapDriver } from "../lookup/ldap-driver.ts";
import { fillFilter } from "./ldap-filter.ts";
import { loginUser } from "./login-name.ts";
import type { Attempt, PasswordSource, SourceAnswer } from "./password-source.ts";

export type LdapSettings = NonNullable<AuthenticationSettings["ldap"]>;

const RUNNING = 16;
const WAITING = 64;
/** Each server gets at least this much of the time, however many there are. */
const LEAST_MS = 500;

const scopes = { Base: "base", OneLevel: "one", Subtree: "sub" } as const;
/** What a server answers to the bind of a user who may not: wrong, locked, without a password. Everything else is its trouble. */
const refusals = (ldap: LdapDriver) => [
  ldap.InvalidCredentialsError,
  ldap.InappropriateAuthError,
  ldap.NoSuchObjectError,
  ldap.ConstraintViolationError,
  ldap.InsufficientAccessError,
  ldap.UnwillingToPerformError,
];

const textOf = (error: unknown): string => (error instanceof Error ? `${error.name}: ${error.message}` : String(error));

export class LdapSource implements PasswordSource {
  readonly name = "ldap";
  readonly #settings: LdapSettings;
  readonly #log: Log;
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  /** Of the URL that answered last. */
  #preferred = 0;

  constructor(settings: LdapSettings, log: Log) {
    this.#settings = settings;
    this.#log = log;
  }

  async check(attempt: Attempt): Promise<SourceAnswer> {
    if (this.#running >= RUNNING) {
      if (this.#waiting.length >= WAITING)
        return { kind: "unavailable", why: "too many logins wait for the directory" };
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running += 1;
    try {
      await ldapDriver();
      return await this.#askAny(attempt);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #askAny(attempt: Attempt): Promise<SourceAnswer> {
    const { urls, timeoutMs } = this.#settings;
    const endsMs = Date.now() + timeoutMs;
    let why = "";
    for (let tried = 0; tried < urls.length; tried += 1) {
      const place = (this.#preferred + tried) % urls.length;
      const url = urls[place] ?? "";
      const shareMs = Math.max((endsMs - Date.now()) / (urls.length - tried), LEAST_MS);
      try {
        const answer = await this.#ask(url, attempt, shareMs);
        this.#preferred = place;
        return answer;
      } catch (error) {
        why = `${url}: ${textOf(error)}`;
        this.#log.warn({ url, error: textOf(error) }, "ldap-failed");
      }
    }
    return { kind: "unavailable", why };
  }

  async #ask(url: string, attempt: Attempt, timeoutMs: number): Promise<SourceAnswer> {
    const { hostname, protocol } = new URL(url);
    const host = hostname.replace(/^\[|\]$/g, "");
    const tls = this.#tlsOptions(attempt.config, host);
    const { Client } = await ldapDriver();
    let socket: Socket | undefined;
    const client = new Client({
      url,
      timeout: timeoutMs,
      connectTimeout: timeoutMs,
      strictDN: false,
      ...(protocol === "ldaps:" ? { tlsOptions: tls } : {}),
      // Once: the library would connect again by itself, and without TLS.
      createConnection: ((port: number, name: string) => {
        if (socket !== undefined) throw new Error("the directory closed the connection");
        socket = connect(port, name);
        return socket;
      }) as typeof connect,
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${Math.round(timeoutMs)} ms`)), timeoutMs);
    });
    const asked = this.#askOn(client, attempt, protocol === "ldap:" && this.#settings.startTls ? tls : undefined);
    // Whoever loses the race has nobody to tell.
    asked.catch(() => undefined);
    try {
      return await Promise.race([asked, late]);
    } finally {
      clearTimeout(timer);
      client.unbind().catch(() => undefined);
      setTimeout(() => socket?.destroy(), 1000).unref();
    }
  }

  #tlsOptions(config: LiveConfig, host: string): ConnectionOptions {
    const { authority } = this.#settings;
    const bundle = authority === undefined ? undefined : config.authorities.get(authority);
    if (authority !== undefined && bundle === undefined) throw new Error(`authority ${authority} is missing`);
    return {
      host,
      minVersion: "TLSv1.2",
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(bundle === undefined ? {} : { ca: bundle }),
    };
  }

  async #askOn(client: Client, attempt: Attempt, startTls: ConnectionOptions | undefined): Promise<SourceAnswer> {
    const { baseDn, scope, filter, addressAttribute, credentials: key } = this.#settings;
    if (startTls !== undefined) await client.startTLS(startTls);
    if (key !== undefined) {
      const credentials = attempt.config.credentials.get(key);
      if (credentials === undefined) throw new Error(`credentials ${key} are missing`);
      await client.bind(credentials.username, credentials.password);
    }
    const login = attempt.user ?? attempt.username;
    const { searchEntries } = await client.search(baseDn, {
      scope: scopes[scope],
      filter: fillFilter(filter, login),
      attributes: [addressAttribute ?? "1.1"],
      sizeLimit: 2,
    });
    const [entry, another] = searchEntries;
    if (another !== undefined) throw new Error("the filter finds several entries for one login name");
    // RFC 4513 §5.1.2: a bind with a name and no password is anonymous, and is answered with success.
    const password = attempt.password === "" || attempt.password.includes("\0") ? undefined : attempt.password;
    try {
      await client.bind(entry?.dn ?? `cn=${randomUUID()},${baseDn}`, password ?? randomUUID());
    } catch (error) {
      if (refusals(await ldapDriver()).some((refusal) => error instanceof refusal)) return { kind: "mismatch" };
      throw error;
    }
    const user = entry === undefined ? undefined : userOf(entry[addressAttribute ?? ""], attempt);
    return user === undefined || password === undefined ? { kind: "mismatch" } : { kind: "match", user };
  }
}

/** The first address of the attribute, or the login name where none was asked for. */
function userOf(values: unknown, { config, user, username }: Attempt): string | undefined {
  if (config.server.authentication.ldap?.addressAttribute === undefined) return user ?? loginUser(config, username);
  const [first] = Array.isArray(values) ? (values as unknown[]) : [values];
  return typeof first === "string" ? loginUser(config, first) : undefined;
}
