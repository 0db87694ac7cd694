/** ldapts, loaded by those who use it: lookups and logins. The package costs memory in every shard. */
export type LdapDriver = typeof import("ldapts");

let loading: Promise<LdapDriver> | undefined;
/** Waited for before any clock runs, or reading it would look like a slow server. */
export const ldapDriver = (): Promise<LdapDriver> => (loading ??= import("ldapts"));
