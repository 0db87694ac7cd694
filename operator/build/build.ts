/**
 * Build: World → the rendered configuration and a verdict on every object.
 *
 * The middle of the operator, shared by the cluster and the embedded mode. Pure, total, deterministic: no I/O, no clock but `world.nowMs`, no randomness; whatever
 * parsed objects and Secrets come in, a configuration that the server can read comes out. One file a concern; here they are put in order.
 */
import type { RenderedConfig, TableSlice } from "../../server/config/schema.ts";
import { buildAccessRules } from "./access-rules.ts";
import { buildAddresses } from "./addresses.ts";
import type { Context } from "./context.ts";
import { domainEntry, servedDomains } from "./domains.ts";
import { buildRelayClientCerts } from "./relay-client-certs.ts";
import { buildRoutes } from "./routes.ts";
import { SecretTables } from "./secrets.ts";
import { buildServerCertificates, serverSection } from "./server-section.ts";
import { sharedStateOf } from "./shared-state.ts";
import { buildTlsPolicies } from "./tls-policies.ts";
import { Findings, type Verdict } from "./verdict.ts";
import { type MailObject, nameKey, objectKey, type World } from "./world.ts";

export interface Desired {
  readonly config: RenderedConfig;
  /** Key: `Kind/namespace/name` (`objectKey`), one for every object of the world. */
  readonly verdicts: ReadonlyMap<string, Verdict>;
  /** The next instant at which the same objects would build to something else (an expiry); come back then. */
  readonly recheckAtMs: number | undefined;
}

export const objectsOf = (world: World): MailObject[] => [
  world.server,
  ...world.domains,
  ...world.mailboxes,
  ...world.aliases,
  ...world.tlsPolicies,
  ...world.relayClientCerts,
  ...world.accessRules,
  ...world.routes,
];

/** A record whose own keys are in code-unit order; `__proto__` is a key like any other. */
const record = <V>(table: ReadonlyMap<string, V>): Record<string, V> =>
  Object.fromEntries([...table].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));

export function buildDesired(world: World): Desired {
  const findings = new Findings();
  const secrets = new SecretTables(world);
  const served = servedDomains({ world, findings });
  const domainNames = new Set(world.domains.map(nameKey));
  const context: Context = { world, findings, secrets, served, domainNames };

  const serverCertificates = buildServerCertificates(context);
  const addresses = buildAddresses(context);
  const domains = new Map(
    [...served.values()].map((each) => [
      each.domain,
      domainEntry(each, addresses.catchAll.get(each.domain) ?? [], context),
    ]),
  );
  const { routes, senderRoutes } = buildRoutes(context);
  const tlsPolicies = buildTlsPolicies(context);
  const relayClientCerts = buildRelayClientCerts(context);
  const accessRules = buildAccessRules(context);
  const server = serverSection(context, { accessRules, addresses: addresses.entries });

  const tables: TableSlice = {
    domains: record(domains),
    addresses: record(addresses.entries),
    routes: record(routes),
    senderRoutes: record(senderRoutes),
    tlsPolicies: record(tlsPolicies),
    relayClientCerts: record(relayClientCerts.entries),
  };
  return {
    config: {
      server,
      tables,
      secrets: {
        passwords: record(secrets.passwords),
        scramVerifiers: record(secrets.scramVerifiers),
        credentials: record(secrets.credentials),
        certificates: record(secrets.certificates),
        authorities: record(secrets.authorities),
        serverCertificates: serverCertificates.names,
        ...sharedStateOf(context),
      },
      slices: world.server.spec.configShards,
    },
    verdicts: new Map(objectsOf(world).map((object) => [objectKey(object), findings.verdictOf(objectKey(object))])),
    recheckAtMs: earliest(relayClientCerts.recheckAtMs, serverCertificates.recheckAtMs),
  };
}

const earliest = (...instants: readonly (number | undefined)[]): number | undefined => {
  const known = instants.filter((instant) => instant !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
};
