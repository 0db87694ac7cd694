/**
 * Lookups: MailServer.spec.lookups and spec.tables → the sources in the order in which they are asked.
 *
 * Stands in build/. A query, filter, pattern or table that cannot be used as written is said on the MailServer and keeps its place as `unusable`: whoever asks it is told to
 * come back (451), because leaving it out would let a later source, or nobody, say "unknown user" to mail that it knows.
 */
import { isIP } from "node:net";
import { type Parsed, parseTemplate } from "../../server/config/lookup-template.ts";
import {
  type Endpoint,
  type LookupRole,
  type LookupSource,
  rolesOf,
  type TableSource,
} from "../../server/config/lookups.ts";
import type { ServerSection } from "../../server/config/schema.ts";
import { parseQuery } from "../../server/config/sql-query.ts";
import { parseTable } from "../../server/config/table-text.ts";
import type { Context } from "./context.ts";
import { deliveryOf } from "./deliveries.ts";
import { durationMs } from "./quantities.ts";
import { secretKey } from "./references.ts";
import { domainQueries, vimbadminQueries } from "./vimbadmin.ts";
import { type MailServer, objectKey } from "./world.ts";

type Spec = MailServer["spec"]["lookups"];
type Query = NonNullable<Spec["mysql"][number]["queries"]>[number];
type RoleName = Query["role"];

const roles: Readonly<Record<RoleName, LookupRole>> = {
  Domains: "domains",
  Mailboxes: "mailboxes",
  Aliases: "aliases",
  Transports: "transports",
  TLSPolicies: "tlsPolicies",
  Access: "access",
  Senders: "senders",
  Passwords: "passwords",
};

/** All tables together lie in one ConfigMap of 1 MiB, beside everything else of the server. */
const MAX_TABLES = 600_000;

interface Shape {
  readonly resultFormat?: string | undefined;
  readonly domains?: readonly string[] | undefined;
  readonly expansionLimit?: number | undefined;
}
const shapeOf = ({ resultFormat = "%s", domains = [], expansionLimit = 1000 }: Shape) => ({
  resultFormat,
  domains: [...new Set(domains.map((domain) => domain.toLowerCase()))].sort(),
  expansionLimit,
});

interface Timing {
  readonly connectTimeout?: string | undefined;
  readonly timeout?: string | undefined;
  readonly cache?:
    | {
        readonly entries?: number | undefined;
        readonly ttl?: string | undefined;
        readonly negativeTTL?: string | undefined;
      }
    | undefined;
}
/** Where nobody else can be asked, hurry only makes outages. */
const timingOf = ({ connectTimeout, timeout = "5s", cache }: Timing, hosts: number) => ({
  connectTimeoutMs: Math.max(1, durationMs(connectTimeout ?? (hosts > 1 ? "500ms" : "3s"))),
  timeoutMs: Math.max(1, durationMs(timeout)),
  cache: {
    entries: cache?.entries ?? 10_000,
    ttlMs: durationMs(cache?.ttl ?? "10s"),
    negativeTtlMs: durationMs(cache?.negativeTTL ?? "3s"),
  },
});

function endpointOf(text: string, defaultPort: number | undefined): Endpoint | undefined {
  if (text.startsWith("unix:")) return { path: text.slice("unix:".length) };
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+))(?::([0-9]{1,5}))?$/.exec(text);
  const host = (match?.[1] ?? match?.[2])?.toLowerCase();
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (host === undefined || port === undefined || port < 1 || port > 65_535) return undefined;
  return match?.[1] !== undefined && isIP(host) !== 6 ? undefined : { host, port };
}

/** What the parts of one source say about themselves. */
class Builder {
  readonly #context: Context;
  readonly #key: string;

  constructor(context: Context) {
    this.#context = context;
    this.#key = objectKey(context.world.server);
  }

  #wrong(path: string, error: string): void {
    this.#context.findings.refuse(this.#key, "Invalid", `${path}: ${error} Until then mail that needs it waits.`);
  }

  /** The secrets of a source; named even when they cannot be read, so that the server waits for them instead of doing without. */
  #secrets(spec: {
    readonly credentialsSecretName?: string | undefined;
    readonly tls?:
      | {
          readonly caSecretName?: string | undefined;
          readonly serverName?: string | undefined;
          readonly clientCertificateSecretName?: string | undefined;
        }
      | undefined;
  }) {
    const { findings, secrets, world } = this.#context;
    const tell = (refusal: ReturnType<typeof secrets.useCredentials>): void => {
      if (refusal !== undefined)
        findings.refuse(this.#key, refusal.reason, `${refusal.message} Until then mail that needs it waits.`);
    };
    const nameOf = (name: string | undefined): string | undefined =>
      name === undefined ? undefined : secretKey(world.server, name);
    const credentials = nameOf(spec.credentialsSecretName);
    if (credentials !== undefined) tell(secrets.useCredentials(credentials));
    if (spec.tls === undefined) return { credentials, tls: undefined };
    const authority = nameOf(spec.tls.caSecretName);
    if (authority !== undefined) tell(secrets.useAuthority(authority));
    const clientCertificate = nameOf(spec.tls.clientCertificateSecretName);
    if (clientCertificate !== undefined) {
      const pair = secrets.useKeyPair(clientCertificate);
      if (!pair.ok) tell(pair);
    }
    const { serverName } = spec.tls;
    return {
      credentials,
      tls: {
        ...(authority === undefined ? {} : { authority }),
        ...(serverName === undefined ? {} : { serverName }),
        ...(clientCertificate === undefined ? {} : { clientCertificate }),
      },
    };
  }

  /** Those that parse; the roles of the others keep their place as `unusable`. */
  #questions<Q extends { readonly role: RoleName }, R>(
    name: string,
    path: string,
    questions: readonly Q[],
    read: (question: Q) => Parsed<R>,
  ): { readonly good: [LookupRole, R][]; readonly bad: LookupSource[] } {
    const good: [LookupRole, R][] = [];
    const bad: LookupRole[] = [];
    for (const question of questions) {
      const parsed = read(question);
      if (parsed.ok) good.push([roles[question.role], parsed.value]);
      else {
        this.#wrong(`${path} for ${question.role}`, parsed.error);
        bad.push(roles[question.role]);
      }
    }
    const reason = `${path} cannot be used; see the MailServer's conditions`;
    return { good, bad: bad.length === 0 ? [] : [{ kind: "unusable", name, roles: bad.sort(), reason }] };
  }

  #endpoints(path: string, hosts: readonly string[], defaultPort?: number): Endpoint[] {
    return hosts.flatMap((host) => {
      const endpoint = endpointOf(host, defaultPort);
      if (endpoint === undefined)
        this.#wrong(path, `"${host}" is not a host${defaultPort === undefined ? " with a port" : ""}; correct it.`);
      return endpoint === undefined ? [] : [endpoint];
    });
  }

  mysql(spec: Spec["mysql"][number]): LookupSource[] {
    const { name } = spec;
    const path = `spec.lookups.mysql[${name}]`;
    const { credentials, tls } = this.#secrets(spec);
    const shipped = spec.schema === "Vimbadmin" ? vimbadminQueries : {};
    const written: readonly (Query & { readonly domainsOnly?: boolean })[] = spec.queries ?? [];
    const ready = (Object.keys(roles) as RoleName[]).flatMap((role): typeof written => {
      const query = written.some((each) => each.role === role) ? undefined : shipped[roles[role]];
      return query === undefined ? [] : [{ role, query, domainsOnly: domainQueries.has(roles[role]) }];
    });
    const { good, bad } = this.#questions(name, `${path}.queries`, [...written, ...ready], (question) => {
      const parsed = parseQuery(question.query);
      if (!parsed.ok) return parsed;
      const shape = shapeOf(question);
      const format = parseTemplate(shape.resultFormat, "value");
      return format.ok
        ? {
            ok: true,
            value: { query: question.query, ...shape, ...(question.domainsOnly === true ? { domainsOnly: true } : {}) },
          }
        : format;
    });
    if (good.length + bad.length === 0) this.#wrong(path, "it asks nothing; write queries, or name a schema.");
    const hosts = this.#endpoints(`${path}.hosts`, spec.hosts, 3306);
    const unverifiable =
      tls !== undefined &&
      tls.serverName === undefined &&
      hosts.some((host) => "host" in host && isIP(host.host) !== 0);
    if (unverifiable)
      this.#wrong(`${path}.tls`, "a host that is an address needs serverName, the name in its certificate.");
    const queries = Object.fromEntries(good.sort(([a], [b]) => (a < b ? -1 : 1)));
    if (hosts.length === 0 || unverifiable) return unusable(name, good, bad, path);
    if (good.length === 0) return bad;
    return [
      {
        kind: "mysql",
        name,
        ...timingOf(spec, hosts.length),
        hosts,
        database: spec.database,
        credentials: credentials ?? "",
        ...(tls === undefined ? {} : { tls }),
        connections: spec.connections ?? 4,
        queries,
      },
      ...bad,
    ];
  }

  ldap(spec: Spec["ldap"][number]): LookupSource[] {
    const { name } = spec;
    const path = `spec.lookups.ldap[${name}]`;
    const { credentials, tls } = this.#secrets(spec);
    const scopes = { Base: "base", One: "one", Subtree: "sub" } as const;
    const { good, bad } = this.#questions(name, `${path}.searches`, spec.searches, (search) => {
      const shape = shapeOf(search);
      const [attributes, referenceAttributes] = [search.resultAttributes ?? [], search.referenceAttributes ?? []];
      if (attributes.length + referenceAttributes.length === 0)
        return { ok: false, error: "it needs resultAttributes: which values are the answer." };
      if (!balanced(search.filter)) return { ok: false, error: "the filter's parentheses do not match." };
      for (const [text, small] of [
        [search.filter, "key"],
        [search.base, "key"],
        [shape.resultFormat, "value"],
      ] as const) {
        const template = parseTemplate(text, small);
        if (!template.ok) return template;
      }
      const scope = scopes[search.scope ?? "Subtree"];
      return {
        ok: true,
        value: { base: search.base, scope, filter: search.filter, attributes, referenceAttributes, ...shape },
      };
    });
    const startTls = tls !== undefined || spec.startTLS === true;
    if (tls !== undefined && spec.startTLS === false && spec.servers.some((url) => url.startsWith("ldap://")))
      this.#wrong(path, "tls asks for encryption and startTLS: false for none; remove one of them.");
    const urls = spec.servers.flatMap((server) => {
      const { protocol, host } = /^(?<protocol>ldaps?):\/\/(?<host>[^/]+)\/?$/.exec(server)?.groups ?? {};
      const endpoint = endpointOf(host ?? "", protocol === "ldaps" ? 636 : 389);
      if (endpoint === undefined || !("host" in endpoint)) {
        this.#wrong(`${path}.servers`, `"${server}" is not the URL of a server; correct it.`);
        return [];
      }
      const written = endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host;
      return [`${protocol}://${written}:${endpoint.port}`];
    });
    if (urls.length === 0) return unusable(name, good, bad, path);
    if (good.length === 0) return bad;
    return [
      {
        kind: "ldap",
        name,
        ...timingOf(spec, urls.length),
        urls,
        startTls,
        ...(tls === undefined ? {} : { tls }),
        ...(credentials === undefined ? {} : { credentials }),
        searches: Object.fromEntries(good.sort(([a], [b]) => (a < b ? -1 : 1))),
      },
      ...bad,
    ];
  }

  socketmap(spec: Spec["socketmap"][number]): LookupSource[] {
    const { name } = spec;
    const path = `spec.lookups.socketmap[${name}]`;
    const hosts = this.#endpoints(`${path}.hosts`, spec.hosts);
    const maps = spec.maps.map(({ role, map }): [LookupRole, string] => [roles[role], map]);
    if (hosts.length === 0) return unusable(name, maps, [], path);
    return [
      {
        kind: "socketmap",
        name,
        ...timingOf(spec, hosts.length),
        hosts,
        connections: spec.connections ?? 4,
        maps: Object.fromEntries(maps.sort(([a], [b]) => (a < b ? -1 : 1))),
      },
    ];
  }

  table(spec: MailServer["spec"]["tables"][number], room: number): LookupSource {
    const path = `spec.tables[${spec.name}]`;
    const wanted = [...new Set((spec.roles ?? []).map((role) => roles[role]))].sort();
    const source: TableSource = {
      kind: "table",
      name: spec.name,
      type: spec.type,
      text:
        spec.content.text ??
        (spec.content.entries ?? []).map(({ key, value }) => `${key.trim()} ${value.trim()}\n`).join(""),
      roles: wanted,
    };
    const strange = (spec.content.entries ?? []).find(
      ({ key, value }) =>
        /^\s*(?:#|$)/.test(key) ||
        /[\r\n]/.test(`${key}${value}`) ||
        value.trim() === "" ||
        (spec.type === "Hash" && /\s/.test(key.trim())),
    );
    const parsed: Parsed<unknown> =
      strange !== undefined
        ? {
            ok: false,
            error: `The entry "${strange.key.slice(0, 60)}" cannot be written: its key begins with # or holds a space, or it has no value, or more than one line.`,
          }
        : Buffer.byteLength(JSON.stringify(source.text)) > room
          ? { ok: false, error: `All tables together may hold ${MAX_TABLES} octets; use a database for more.` }
          : parseTable(spec.type, source.text);
    if (parsed.ok) return source;
    this.#wrong(path, parsed.error);
    return {
      kind: "unusable",
      name: spec.name,
      roles: wanted,
      reason: `${path} cannot be used; see the MailServer's conditions`,
    };
  }

  sameName(name: string): void {
    this.#context.findings.refuse(
      this.#key,
      "Invalid",
      `Two of spec.lookups and spec.tables are called ${name}; give one of them another name, because their order cannot be told.`,
    );
  }

  unknownName(name: string): void {
    this.#context.findings.refuse(
      this.#key,
      "Invalid",
      `spec.lookups.order names ${name}, which is neither in spec.lookups nor in spec.tables; correct it.`,
    );
  }
}

const unusable = (
  name: string,
  good: readonly (readonly [LookupRole, unknown])[],
  bad: readonly LookupSource[],
  path: string,
): LookupSource[] => {
  const all = [...good.map(([role]) => role), ...bad.flatMap((each) => (each.kind === "unusable" ? each.roles : []))];
  const reason = `${path} cannot be used; see the MailServer's conditions`;
  return [{ kind: "unusable", name, roles: [...new Set(all)].sort(), reason }];
};

/** RFC 4515 writes parentheses of values as \28 and \29. */
function balanced(filter: string): boolean {
  let depth = 0;
  for (const character of filter) {
    if (character === "(") depth++;
    if (character === ")" && --depth < 0) return false;
  }
  return depth === 0;
}

/** What domains are that only look-ups know; nothing where no look-up knows domains. */
export function lookedUpDomainsOf(
  context: Context,
  sources: readonly LookupSource[],
): Pick<ServerSection, "lookedUpDomains"> {
  const { server } = context.world;
  if (!sources.some((source) => rolesOf(source).includes("domains"))) return {};
  const { class: domainClass, delivery, recipientsFrom } = server.spec.lookups.domains;
  if (
    domainClass === "Mailbox" &&
    delivery === undefined &&
    !sources.some((source) => rolesOf(source).includes("transports"))
  )
    context.findings.refuse(
      objectKey(server),
      "Invalid",
      "spec.lookups.domains of class Mailbox needs delivery, or a look-up of the role Transports. Until then mail for these domains waits.",
    );
  return {
    lookedUpDomains: {
      class: domainClass,
      recipients: recipientsFrom,
      ...(delivery === undefined ? {} : { delivery: deliveryOf(delivery, server, context) }),
    },
  };
}

export function buildLookups(context: Context): LookupSource[] {
  const { lookups, tables } = context.world.server.spec;
  const builder = new Builder(context);
  let room = MAX_TABLES;
  const sources: LookupSource[] = [];
  for (const table of tables) {
    const source = builder.table(table, room);
    if (source.kind === "table") room -= Buffer.byteLength(JSON.stringify(source.text));
    sources.push(source);
  }
  sources.push(
    ...lookups.mysql.flatMap((spec) => builder.mysql(spec)),
    ...lookups.ldap.flatMap((spec) => builder.ldap(spec)),
    ...lookups.socketmap.flatMap((spec) => builder.socketmap(spec)),
  );
  const written = [...tables, ...lookups.mysql, ...lookups.ldap, ...lookups.socketmap].map(({ name }) => name);
  for (const name of new Set(written.filter((each, index) => written.indexOf(each) !== index))) builder.sameName(name);
  for (const name of lookups.order.filter((each) => !written.includes(each))) builder.unknownName(name);
  const rank = (name: string): number => {
    const place = lookups.order.indexOf(name);
    return place < 0 ? lookups.order.length : place;
  };
  // Sorting is stable: those not named stay as they are.
  return sources.sort((a, b) => rank(a.name) - rank(b.name));
}
