/**
 * All kinds, and the door through which documents come in: `parseObject` gives a typed object with every default in place, or sentences.
 *
 * Used by the operator for what the API server stored and by the embedded mode for what lies in a folder, so that both see the same world.
 */
import { z } from "zod";
import { type AccessRule, accessRuleKind } from "./access-rule.ts";
import { type Alias, aliasKind } from "./alias.ts";
import { type MailDomain, mailDomainKind } from "./mail-domain.ts";
import { type MailServer, mailServerKind } from "./mail-server.ts";
import { type Mailbox, mailboxKind } from "./mailbox.ts";
import { type RelayClientCert, relayClientCertKind } from "./relay-client-cert.ts";
import { type Route, routeKind } from "./route.ts";
import { withoutNulls } from "./nulls.ts";
import { API_VERSION, type KindDefinition } from "./schema.ts";
import { sentences } from "./sentences.ts";
import { type TLSPolicy, tlsPolicyKind } from "./tls-policy.ts";

export type { AccessRule, Alias, MailDomain, Mailbox, MailServer, RelayClientCert, Route, TLSPolicy };
export { API_VERSION } from "./schema.ts";

export type MailObject = MailServer | MailDomain | Mailbox | Alias | TLSPolicy | RelayClientCert | AccessRule | Route;
export type MailKind = MailObject["kind"];

export const kinds: Readonly<Record<MailKind, KindDefinition>> = {
  MailServer: mailServerKind,
  MailDomain: mailDomainKind,
  Mailbox: mailboxKind,
  Alias: aliasKind,
  TLSPolicy: tlsPolicyKind,
  RelayClientCert: relayClientCertKind,
  AccessRule: accessRuleKind,
  Route: routeKind,
};

export type ParseResult =
  | { readonly ok: true; readonly object: MailObject }
  | { readonly ok: false; readonly problems: readonly string[] };

const envelope = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({
    name: z
      .string()
      .min(1)
      .max(253)
      .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/),
  }),
});

/** A parsed YAML or JSON document of one of our kinds. Does not look at status. */
export function parseObject(document: unknown): ParseResult {
  const outer = envelope.safeParse(document);
  if (!outer.success)
    return {
      ok: false,
      problems: [
        "This is not a Kubernetes object: it needs apiVersion, kind and metadata.name (lower-case letters, digits, hyphens, dots).",
      ],
    };
  const { apiVersion, kind, metadata } = outer.data;
  const definition = Object.hasOwn(kinds, kind) ? kinds[kind as MailKind] : undefined;
  if (definition === undefined)
    return { ok: false, problems: [`kind ${kind} is not one of ${Object.keys(kinds).join(", ")}.`] };
  if (apiVersion !== API_VERSION)
    return { ok: false, problems: [`apiVersion must be ${API_VERSION}, not ${apiVersion}.`] };
  const spec = definition.spec.safeParse(withoutNulls(outer.data["spec"] ?? {}, definition.spec), {
    reportInput: true,
  });
  if (!spec.success) return { ok: false, problems: sentences(spec.error.issues, "spec") };
  const status = outer.data["status"];
  return {
    ok: true,
    object: { apiVersion, kind, metadata, spec: spec.data, ...(status === undefined ? {} : { status }) } as MailObject,
  };
}
