/**
 * Ready queries for ViMbAdmin's database, for `schema: Vimbadmin` of a MySQL source.
 *
 * What its documentation (https://www.vimbadmin.net) tells Postfix and Dovecot to ask, with `active` everywhere. Stands in build/, used by lookups.ts.
 */
import type { LookupRole } from "../../server/config/lookups.ts";

export const vimbadminQueries: Readonly<Partial<Record<LookupRole, string>>> = {
  domains: "SELECT 1 FROM domain WHERE domain = '%s' AND active = '1'",
  mailboxes: "SELECT 1 FROM mailbox WHERE username = '%s' AND active = '1'",
  aliases: "SELECT goto FROM alias WHERE address = '%s' AND active = '1'",
  // `virtual` is its default and says nothing about a next hop.
  transports: "SELECT transport FROM domain WHERE domain = '%s' AND active = '1' AND transport <> 'virtual'",
  senders:
    "SELECT username FROM mailbox WHERE username = '%s' AND active = '1' UNION SELECT goto FROM alias WHERE address = '%s' AND active = '1'",
  passwords: "SELECT password FROM mailbox WHERE username = '%s' AND active = '1'",
};

/** Those whose table has only domains: a third of the questions about a message fall away. */
export const domainQueries: ReadonlySet<LookupRole> = new Set(["domains", "transports"]);
