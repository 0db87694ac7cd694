/**
 * Relay client certificates: RelayClientCert objects → `relayClientCerts`, by fingerprint of the certificate or of its public key.
 *
 * Stands in build/. What has expired is not rendered; what will expire is rendered with the instant, so that the server stops by itself. A certificate given by
 * Secret is recognised by its whole, not by its key: a renewed one is a new certificate. RFC 5280 §4.1.2.5 (validity).
 */
import type { RelayClientCertEntry } from "../../server/config/schema.ts";
import { normaliseFingerprint, readCertificate } from "./certificates.ts";
import { Claims, conflictMessage, olderFirst } from "./claims.ts";
import { type Context, letIn } from "./context.ts";
import { permittedAddresses } from "./addresses.ts";
import { tableAddress } from "./keys.ts";
import { secretKey } from "./references.ts";
import { nameKey, objectKey, type RelayClientCert } from "./world.ts";

const DAY_MS = 86_400_000;
/** How long before its end an object begins to say so. */
export const WARNING_MS = 30 * DAY_MS;

interface Recognised {
  readonly keys: readonly string[];
  readonly expiresMs: number | undefined;
}

function recognised(object: RelayClientCert, { findings, secrets }: Context): Recognised {
  const { spec } = object;
  const key = objectKey(object);
  const expiresMs = spec.expires === undefined ? undefined : Date.parse(spec.expires);
  const keys = new Set<string>();
  let ends = expiresMs;
  for (const fingerprint of spec.fingerprints) {
    const hex = normaliseFingerprint(fingerprint.value);
    if (hex === undefined)
      findings.refuse(
        key,
        "Invalid",
        `Fingerprint "${fingerprint.value}" is not a SHA-256 in hexadecimal; write its 64 digits, with or without colons.`,
      );
    else keys.add(`${fingerprint.of === "PublicKey" ? "publickey" : "certificate"}:${hex}`);
  }
  if (spec.certificateSecretName !== undefined) {
    const name = secretKey(object, spec.certificateSecretName);
    const read = readCertificate(name, secrets.text(name));
    if (read.ok) {
      keys.add(`certificate:${read.facts.certificateSha256}`);
      ends = Math.min(ends ?? read.facts.notAfterMs, read.facts.notAfterMs);
    } else findings.refuse(key, read.reason, read.message);
  }
  return { keys: [...keys].sort(), expiresMs: ends };
}

/** The mailbox it logs in as. Whether there is such a Mailbox the server sees at every login. */
function authenticatesAs(object: RelayClientCert, { findings }: Context): string | undefined {
  const written = object.spec.authenticatesAs;
  const user = written === undefined ? undefined : tableAddress(written);
  if (written === undefined || (user !== undefined && !user.startsWith("@"))) return user;
  findings.refuse(
    objectKey(object),
    "Invalid",
    `"${written}" in spec.authenticatesAs is not an address; correct it. Until then this certificate logs in as nobody.`,
  );
  return undefined;
}

export interface RelayClientCertTable {
  readonly entries: Map<string, RelayClientCertEntry>;
  /** The next instant at which a build of the same objects would differ. */
  readonly recheckAtMs: number | undefined;
}

export function buildRelayClientCerts(context: Context): RelayClientCertTable {
  const { world, findings } = context;
  const entries = new Map<string, RelayClientCertEntry>();
  const claims = new Claims<RelayClientCert>();
  let recheckAtMs: number | undefined;
  for (const object of letIn(context, world.relayClientCerts).sort(olderFirst)) {
    const key = objectKey(object);
    const { keys, expiresMs } = recognised(object, context);
    const expires = expiresMs === undefined || Number.isNaN(expiresMs) ? undefined : new Date(expiresMs).toISOString();
    if (expiresMs !== undefined && expires !== undefined) {
      if (expiresMs <= world.nowMs) {
        findings.refuse(
          key,
          "Expired",
          `It expired at ${expires} and lets nobody in any more; give it a new certificate or a later spec.expires, or delete it.`,
        );
        continue;
      }
      if (expiresMs - world.nowMs < WARNING_MS) findings.warn(key, `It expires at ${expires}; renew it before then.`);
      recheckAtMs = Math.min(recheckAtMs ?? expiresMs, expiresMs);
    }
    const senders = permittedAddresses(object, object.spec.allow.senders, "spec.allow.senders", context);
    const recipients = permittedAddresses(object, object.spec.allow.recipients, "spec.allow.recipients", context);
    // An empty list means "any": where every written address was wrong, nobody may use it rather than everybody.
    if (senders === undefined || recipients === undefined) continue;
    const user = authenticatesAs(object, context);
    for (const fingerprint of keys) {
      const winner = claims.claim(fingerprint, object);
      if (winner !== undefined) findings.refuse(key, "Conflict", conflictMessage(`Fingerprint ${fingerprint}`, winner));
      else
        entries.set(fingerprint, {
          name: nameKey(object),
          senders,
          recipients,
          ...(expires === undefined ? {} : { expires }),
          ...(user === undefined ? {} : { authenticatesAs: user }),
        });
    }
  }
  return { entries, recheckAtMs };
}
