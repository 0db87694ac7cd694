/**
 * Login names: what a client calls itself → the user of the session.
 *
 * Pure. A user is an address as the tables write it. Foreign back ends may know users that are none; those are kept in lower case, may send, and own no address
 * but those an Alias gives them.
 */
import { addressKey } from "../config/address.ts";
import { rolesOf } from "../config/lookups.ts";
import type { LiveConfig } from "../config/schema.ts";
import { isUsername } from "./sasl.ts";

/** The address a name means; undefined when it is none. */
export function addressOfLogin(config: LiveConfig, name: string): string | undefined {
  const { defaultDomain } = config.server.authentication;
  return addressKey(name.includes("@") || defaultDomain === undefined ? name : `${name}@${defaultDomain}`);
}

/** The user that a foreign back end means by a name. */
export function loginUser(config: LiveConfig, name: string): string | undefined {
  return addressOfLogin(config, name) ?? (isUsername(name) ? name.toLowerCase() : undefined);
}

/** Whether some back end may know users that are no Mailbox objects. */
function hasForeignUsers({ server }: LiveConfig): boolean {
  const { ldap, dovecot } = server.authentication;
  return (
    ldap !== undefined ||
    dovecot !== undefined ||
    server.lookups.some((source) => rolesOf(source).includes("passwords"))
  );
}

/** A Mailbox object has the last word on its user, whichever back end knows the password. Users without one need a foreign back end. */
export function mayLogIn(config: LiveConfig, user: string): boolean {
  const mailbox = config.addresses.get(user)?.mailbox;
  if (mailbox === undefined) return hasForeignUsers(config);
  return mailbox.authentication && !mailbox.suspended;
}
