/**
 * TLS policies: TLSPolicy objects → `tlsPolicies`, the most specific destination winning at look-up.
 *
 * Stands in build/. A policy that cannot be kept as written is never weakened: one whose authority is missing, and one of level DANEOnly (not built yet), are rendered
 * and make the server defer; a policy of level DANE, which only asks for what it can get, is left out. RFC 7672 §2.2 (what DANE would ask), RFC 8461 §5 (mtaSts).
 */
import { tableDomain } from "./keys.ts";
import type { TlsPolicyEntry } from "../../server/config/schema.ts";
import { normaliseFingerprint } from "./certificates.ts";
import { Claims, conflictMessage, olderFirst } from "./claims.ts";
import { type Context, letIn } from "./context.ts";
import { secretKey } from "./references.ts";
import { describe, objectKey, type TLSPolicy } from "./world.ts";

/** `domain`, `.domain` or `[host]:port` (port 25 where none is written) as the server looks them up; undefined for anything else. */
export function destinationKey(destination: string): string | undefined {
  const nextHop = /^\[([^\]]{1,255})\](?::([0-9]{1,5}))?$/.exec(destination);
  if (nextHop !== null) {
    const port = Number(nextHop[2] ?? "25");
    return port >= 1 && port <= 65_535 ? `[${(nextHop[1] ?? "").toLowerCase()}]:${port}` : undefined;
  }
  const children = destination.startsWith(".");
  const domain = tableDomain(children ? destination.slice(1) : destination);
  return domain === undefined ? undefined : `${children ? "." : ""}${domain}`;
}

/** Postfix writes `>=TLSv1.2`; a list names the versions it allows, and the lowest is what a client can enforce. */
const versions = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] as const;
const lowestVersion = (protocols: readonly string[]): (typeof versions)[number] | undefined =>
  versions.find((version) => protocols.includes(version));

function entryOf(policy: TLSPolicy, { secrets, findings }: Context): TlsPolicyEntry {
  const { spec } = policy;
  const key = objectKey(policy);
  const fingerprints: string[] = [];
  for (const fingerprint of spec.fingerprints) {
    const hex = normaliseFingerprint(fingerprint);
    if (hex === undefined)
      findings.refuse(
        key,
        "Invalid",
        `Fingerprint "${fingerprint}" is not a SHA-256 in hexadecimal; write its 64 digits, with or without colons.`,
      );
    else fingerprints.push(hex);
  }
  if (spec.level === "Fingerprint" && fingerprints.length === 0) {
    findings.refuse(
      key,
      "Invalid",
      "Level Fingerprint needs at least one usable fingerprint; until there is one, mail to these destinations waits.",
    );
  }
  let authority: string | undefined;
  if (spec.caSecretName !== undefined) {
    authority = secretKey(policy, spec.caSecretName);
    const refusal = secrets.useAuthority(authority);
    if (refusal !== undefined)
      findings.refuse(key, refusal.reason, `${refusal.message} Until then mail to these destinations waits.`);
  }
  const minVersion = lowestVersion(spec.protocols);
  const ciphers = [spec.ciphers, ...spec.excludeCiphers.map((cipher) => `!${cipher}`)].filter(
    (part) => part !== undefined && part !== "",
  );
  return {
    level: spec.level,
    match: [...spec.match],
    ...(minVersion === undefined ? {} : { minVersion }),
    ...(ciphers.length === 0
      ? {}
      : { ciphers: (spec.ciphers === undefined ? ["DEFAULT", ...ciphers] : ciphers).join(":") }),
    fingerprints: [...new Set(fingerprints)].sort(),
    ...(authority === undefined ? {} : { authority }),
  };
}

export function buildTlsPolicies(context: Context): Map<string, TlsPolicyEntry> {
  const { world, findings } = context;
  const table = new Map<string, TlsPolicyEntry>();
  const claims = new Claims<TLSPolicy>();
  for (const policy of letIn(context, world.tlsPolicies).sort(olderFirst)) {
    const key = objectKey(policy);
    if (policy.spec.level === "DANE") {
      findings.refuse(
        key,
        "Unsupported",
        "Level DANE is not available yet; choose May or Encrypt. Until then the MailServer's own default decides for these destinations.",
      );
      continue;
    }
    if (policy.spec.level === "DANEOnly") {
      findings.refuse(
        key,
        "Unsupported",
        "Level DANEOnly is not available yet; choose Verify, Secure or Fingerprint. Until then mail to these destinations waits, because sending it without DANE is what DANEOnly forbids.",
      );
    }
    const entry = entryOf(policy, context);
    for (const written of policy.spec.destinations) {
      const destination = destinationKey(written);
      if (destination === undefined) {
        findings.refuse(
          key,
          "Invalid",
          `Destination "${written}" is not a domain, .domain or [host]:port; correct it.`,
        );
        continue;
      }
      const winner = claims.claim(destination, policy);
      if (winner !== undefined) findings.refuse(key, "Conflict", conflictMessage(`Destination ${destination}`, winner));
      else table.set(destination, entry);
    }
  }
  warnOfShadows(claims, table, context);
  return table;
}

/** A `.domain` policy learns which more specific ones take part of it away. */
function warnOfShadows(
  claims: Claims<TLSPolicy>,
  table: ReadonlyMap<string, TlsPolicyEntry>,
  { findings }: Context,
): void {
  for (const destination of [...table.keys()].sort()) {
    const owner = claims.ownerOf(destination);
    if (owner === undefined || destination.startsWith("[")) continue;
    for (let dot = destination.indexOf(".", 1); dot >= 0; dot = destination.indexOf(".", dot + 1)) {
      const parent = claims.ownerOf(destination.slice(dot));
      if (parent === undefined || parent === owner) continue;
      findings.warn(
        objectKey(parent),
        `${destination} is decided by ${describe(owner)}, which is more specific than ${destination.slice(dot)}.`,
      );
      break;
    }
  }
}
