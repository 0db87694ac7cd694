/**
 * Authentication: MailServer.spec.authentication → its part of `server.json`, and the Secrets its back ends need.
 *
 * Stands in build/, pure. A back end whose Secret is missing stays in the configuration: the server then answers 454 instead of 535, because nobody can say yet
 * that a password is wrong.
 */
import { createHash } from "node:crypto";
import type { AuthenticationSettings } from "../../server/config/schema.ts";
import type { Context } from "./context.ts";
import { tableDomain } from "./keys.ts";
import { durationMs } from "./quantities.ts";
import { secretKey } from "./references.ts";
import type { Refusal } from "./verdict.ts";
import { type MailServer, nameKey, objectKey } from "./world.ts";

/** By which a stranger cannot tell the salt of a user from that of nobody; the same in every build, different for every server. */
export const saltKeyOf = (server: MailServer): string =>
  createHash("sha256")
    .update(`packetboat scram salt v1\0${server.metadata.uid ?? nameKey(server)}`)
    .digest("hex");

/** Whether users can log in without a password in their Mailbox. */
export const hasForeignBackEnds = ({ spec }: MailServer): boolean =>
  spec.authentication.ldap !== undefined || spec.authentication.dovecot !== undefined || lookUpPasswords(spec);

/** Whether some look-up or table knows passwords. */
function lookUpPasswords({ lookups, tables }: MailServer["spec"]): boolean {
  const asks = (questions: readonly { readonly role: string }[]): boolean =>
    questions.some(({ role }) => role === "Passwords");
  return (
    lookups.mysql.some(({ schema, queries = [] }) => schema !== undefined || asks(queries)) ||
    lookups.ldap.some(({ searches }) => asks(searches)) ||
    lookups.socketmap.some(({ maps }) => asks(maps)) ||
    tables.some(({ roles = [] }) => roles.includes("Passwords"))
  );
}

export function authenticationOf({ world, findings, secrets }: Context): AuthenticationSettings {
  const { server } = world;
  const key = objectKey(server);
  const { mechanisms, mailboxes, defaultDomain, ldap, dovecot, failures } = server.spec.authentication;
  const until = (refusal: Refusal | undefined): void => {
    if (refusal !== undefined)
      findings.refuse(key, refusal.reason, `${refusal.message} Until then logins that need it are told to try later.`);
  };
  const appended = defaultDomain === undefined ? undefined : tableDomain(defaultDomain);
  if (defaultDomain !== undefined && appended === undefined)
    findings.refuse(
      key,
      "Invalid",
      `"${defaultDomain}" in spec.authentication.defaultDomain is not a domain; correct it.`,
    );
  const authority = ldap?.caSecretName === undefined ? undefined : secretKey(server, ldap.caSecretName);
  const credentials = ldap?.bindSecretName === undefined ? undefined : secretKey(server, ldap.bindSecretName);
  if (authority !== undefined) until(secrets.useAuthority(authority));
  if (credentials !== undefined) until(secrets.useCredentials(credentials));
  return {
    mechanisms: [...mechanisms].sort(),
    ...(appended === undefined ? {} : { defaultDomain: appended }),
    mailboxes,
    saltKey: saltKeyOf(server),
    ...(ldap === undefined
      ? {}
      : {
          ldap: {
            urls: [...ldap.urls],
            startTls: ldap.startTLS,
            ...(authority === undefined ? {} : { authority }),
            ...(credentials === undefined ? {} : { credentials }),
            baseDn: ldap.baseDN,
            scope: ldap.scope,
            filter: ldap.filter,
            ...(ldap.addressAttribute === undefined ? {} : { addressAttribute: ldap.addressAttribute }),
            timeoutMs: durationMs(ldap.timeout),
          },
        }),
    ...(dovecot === undefined
      ? {}
      : {
          dovecot: {
            target:
              dovecot.socketPath === undefined
                ? { kind: "tcp", host: dovecot.host ?? "", port: dovecot.port }
                : { kind: "socket", path: dovecot.socketPath },
            timeoutMs: durationMs(dovecot.timeout),
          },
        }),
    failures: {
      perClient: failures.perClient,
      perUser: failures.perUser,
      windowMs: durationMs(failures.window),
    },
  };
}
