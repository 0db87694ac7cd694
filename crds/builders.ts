/** Builders for tests: whole, valid objects with what the test is about put in. Defaults are those of the quickstart. */
import { type MailKind, type MailObject, parseObject } from "./kinds.ts";
import type { AccessRule, AccessRuleSpec } from "./access-rule.ts";
import type { Alias, AliasSpec } from "./alias.ts";
import type { MailDomain, MailDomainSpec } from "./mail-domain.ts";
import type { MailServer, MailServerSpec } from "./mail-server.ts";
import type { Mailbox, MailboxSpec } from "./mailbox.ts";
import type { RelayClientCert, RelayClientCertSpec } from "./relay-client-cert.ts";
import type { Route, RouteSpec } from "./route.ts";
import { API_VERSION, type ObjectMeta } from "./schema.ts";
import type { TLSPolicy, TLSPolicySpec } from "./tls-policy.ts";

export interface Overrides<Spec> {
  readonly metadata?: Partial<ObjectMeta>;
  readonly spec?: Partial<Spec>;
}

function build<T extends MailObject>(kind: MailKind, name: string, spec: object, overrides: Overrides<object>): T {
  const metadata = {
    name,
    namespace: "default",
    uid: `uid-${kind.toLowerCase()}-${overrides.metadata?.name ?? name}`,
    generation: 1,
    creationTimestamp: "2026-01-01T00:00:00Z",
    ...overrides.metadata,
  };
  const result = parseObject({ apiVersion: API_VERSION, kind, metadata, spec: { ...spec, ...overrides.spec } });
  if (!result.ok) throw new Error(`a test built an object that is not valid: ${result.problems.join(" ")}`);
  return result.object as T;
}

export const aMailServer = (overrides: Overrides<MailServerSpec> = {}): MailServer =>
  build("MailServer", "mx", { hostname: "mx.example.org" }, overrides);
export const aMailDomain = (overrides: Overrides<MailDomainSpec> = {}): MailDomain =>
  build(
    "MailDomain",
    "example-org",
    {
      domain: "example.org",
      serverRef: { name: "mx" },
      class: "Mailbox",
      delivery: overrides.spec?.class === "Alias" ? undefined : { maildir: {} },
    },
    overrides,
  );
export const aMailbox = (overrides: Overrides<MailboxSpec> = {}): Mailbox =>
  build("Mailbox", "alice", { address: "alice@example.org", domainRef: { name: "example-org" } }, overrides);
export const anAlias = (overrides: Overrides<AliasSpec> = {}): Alias =>
  build(
    "Alias",
    "sales",
    {
      domainRef: { name: "example-org" },
      ...(overrides.spec?.entries === undefined ? { addresses: ["sales"], destinations: ["alice@example.org"] } : {}),
    },
    overrides,
  );
export const aTLSPolicy = (overrides: Overrides<TLSPolicySpec> = {}): TLSPolicy =>
  build(
    "TLSPolicy",
    "partner",
    { destinations: ["partner.example"], serverRef: { name: "mx" }, level: "Encrypt" },
    overrides,
  );
export const aRelayClientCert = (overrides: Overrides<RelayClientCertSpec> = {}): RelayClientCert =>
  build(
    "RelayClientCert",
    "web",
    {
      serverRef: { name: "mx" },
      ...(overrides.spec?.certificateSecretName === undefined
        ? { fingerprints: [{ algorithm: "SHA256", of: "Certificate", value: "ab".repeat(32) }] }
        : {}),
    },
    overrides,
  );
export const anAccessRule = (overrides: Overrides<AccessRuleSpec> = {}): AccessRule =>
  build(
    "AccessRule",
    "block",
    { scope: "Client", serverRef: { name: "mx" }, match: [{ cidr: "198.51.100.0/24" }], action: { reject: {} } },
    overrides,
  );
export const aRoute = (overrides: Overrides<RouteSpec> = {}): Route =>
  build(
    "Route",
    "partner",
    { destinations: ["partner.example"], serverRef: { name: "mx" }, nextHop: { host: "gateway.partner.example" } },
    overrides,
  );
