/** examples/from-postfix as the oracle runs them: the manifests as they stand there, with the peers of this test in the place of the hosts they name. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseAllDocuments, stringify } from "yaml";
import { secret } from "../integration/manifests.ts";

const folder = resolve(import.meta.dirname, "../../examples/from-postfix");

export interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** The documents of one example, in the order of its files. */
const example = (name: string): Manifest[] =>
  readdirSync(join(folder, name))
    .filter((file) => file.endsWith(".yaml"))
    .sort()
    .flatMap((file) => parseAllDocuments(readFileSync(join(folder, name, file), "utf8")))
    .map((document) => document.toJS() as Manifest);

/** Ports on loopback of what an example names. */
export interface Places {
  /** Takes all mail that leaves. */
  readonly sink: number;
  readonly mysql?: number;
  readonly dovecot?: number;
  readonly ldap?: number;
}

type Members = Readonly<Record<string, unknown>>;
const isMembers = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The other members. */
export const without = (value: Members, ...names: readonly string[]): Members =>
  Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name)));

/** What a member of this name becomes; undefined: its own members are looked at. */
function instead(key: string, value: unknown, places: Places): object | undefined {
  if (!isMembers(value)) return undefined;
  if (["lmtp", "smtp", "nextHop", "relayHost"].includes(key)) return { host: "127.0.0.1", port: places.sink };
  if (key === "dovecot" && places.dovecot !== undefined) return { host: "127.0.0.1", port: places.dovecot };
  if (key === "ldap" && places.ldap !== undefined && Array.isArray(value["urls"])) {
    return { ...without(value, "caSecretName"), urls: [`ldap://127.0.0.1:${places.ldap}`], startTLS: false };
  }
  return undefined;
}

/** Mail that an example hands over by LMTP goes to the sink by SMTP: who gets it is what is compared. */
function located(value: unknown, places: Places): unknown {
  if (Array.isArray(value)) return value.map((item) => located(item, places));
  if (!isMembers(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      key === "lmtp" ? "smtp" : key,
      key === "mysql" && Array.isArray(member) && places.mysql !== undefined
        ? member.map((source: Members) => ({ ...source, hosts: [`127.0.0.1:${places.mysql}`], database: "vimbadmin" }))
        : (instead(key, member, places) ?? located(member, places)),
    ]),
  );
}

/**
 * The manifests of an example as one text. `change` gets every spec with its hosts replaced; the Secrets of
 * `credentials` (name → username, password) take the place of those of the example.
 */
export function manifestsOf(
  name: string,
  places: Places,
  change: (manifest: Manifest & { readonly spec: Members }) => object,
  credentials: Readonly<Record<string, readonly [username: string, password: string]>> = {},
): string {
  return (
    example(name)
      .filter(({ kind }) => kind !== "Secret")
      .map((manifest) => {
        const spec = located(manifest.spec, places) as Members;
        return `---\n${stringify({ ...manifest, spec: change({ ...manifest, spec }) })}`;
      })
      .join("") +
    Object.entries(credentials)
      .map(([called, [username, password]]) => secret(called, { username, password }))
      .join("")
  );
}

/** What a MailServer's spec gets from the test: its own resolver, certificate and way out. */
export const here = (spec: Members, { sink }: Places, resolver: string): Members => ({
  ...spec,
  tls: {},
  outbound: { dns: { resolvers: [resolver] }, relayHost: { host: "127.0.0.1", port: sink } },
});

/** Name of the Secret that a MailServer's first database wants. */
export function secretOf(name: string, member: "lookups" | "authentication"): string {
  const spec = example(name).find(({ kind }) => kind === "MailServer")?.spec ?? {};
  const text = JSON.stringify(spec[member] ?? {});
  const found = /"(?:credentials|bind)SecretName":"([^"]+)"/.exec(text)?.[1];
  if (found === undefined) throw new Error(`the MailServer of example ${name} names no Secret in ${member}`);
  return found;
}
