/**
 * Deliveries: `delivery: {lmtp|smtp|maildir|discard|error}` of a MailDomain or Mailbox → how the server delivers.
 *
 * Stands in build/, used by domains and addresses. Where the Secret of a next hop is missing the object says so and the reference stays: a server without the
 * credentials defers the mail concerned, it neither bounces it nor sends it another way.
 */
import { isIP } from "node:net";
import type { Delivery } from "../../server/config/schema.ts";
import type { Context } from "./context.ts";
import { secretKey } from "./references.ts";
import { type MailDomain, type Mailbox, type MailObject, type MailServer, objectKey } from "./world.ts";

type Spec = NonNullable<MailDomain["spec"]["delivery"]>;

/** RFC 3463 §3.4: the system is not set up as it should be; the sender's server tries again. */
export const notConfigured = (text: string): Delivery => ({ kind: "error", code: 451, enhanced: "4.3.5", text });

/** The key of the credentials of a next hop, taken into the secret slice if they can be read; otherwise the object learns why its mail waits. */
export function credentialsKey(
  object: MailObject,
  secretName: string | undefined,
  { findings, secrets }: Context,
): string | undefined {
  if (secretName === undefined) return undefined;
  const key = secretKey(object, secretName);
  const refusal = secrets.useCredentials(key);
  if (refusal !== undefined)
    findings.refuse(objectKey(object), refusal.reason, `${refusal.message} Until then the mail that needs it waits.`);
  return key;
}

/** Addresses to send from, as the server compares them. One that cannot be read is left out and said. */
export function sourceAddresses(object: MailObject, written: readonly string[], { findings }: Context): string[] {
  return written.flatMap((text) => {
    if (isIP(text) !== 0) return [text.toLowerCase()];
    findings.refuse(
      objectKey(object),
      "Invalid",
      `"${text}" in sourceAddresses is not an IP address; correct it. Until then the system chooses one.`,
    );
    return [];
  });
}

export function deliveryOf(spec: Spec, object: MailDomain | Mailbox | MailServer, context: Context): Delivery {
  if (spec.lmtp !== undefined) {
    const { host, port, socketPath } = spec.lmtp;
    return socketPath === undefined
      ? { kind: "lmtp", host: host ?? "localhost", port }
      : { kind: "lmtp-socket", path: socketPath };
  }
  if (spec.smtp !== undefined) {
    const { host, port, lookupMX, implicitTLS, credentialsSecretName } = spec.smtp;
    const credentials = credentialsKey(object, credentialsSecretName, context);
    return { kind: "smtp", host, port, lookupMX, implicitTLS, ...(credentials === undefined ? {} : { credentials }) };
  }
  if (spec.maildir !== undefined) return { kind: "maildir", base: spec.maildir.base };
  if (spec.error !== undefined)
    return { kind: "error", code: spec.error.code, enhanced: spec.error.enhancedCode, text: spec.error.text };
  if (spec.discard !== undefined) return { kind: "discard" };
  // The schema lets exactly one of them through; whatever it was, mail that waits can still be delivered.
  return notConfigured("Delivery method is not configured");
}
