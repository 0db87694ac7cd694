/**
 * Lookup port: a key in, values out; where domains, mailboxes, aliases and the like come from besides the objects.
 *
 * Asked by session and route through `lookups.ts`. Three answers: values, undefined (asked, and it does not exist), or LookupUnavailable: nobody knows, which is
 * never "no" and becomes 451 4.3.0 (RFC 3463 §3.4: system trouble). Implementations: mysql.ts, ldap.ts, socketmap.ts, table.ts.
 */

/** An address, a domain, or whatever a table is searched by. In lower case, as Postfix folds it; `Lookups` sees to it. */
export type LookupKey = string;

export interface Lookup {
  /** Of the configuration; a label of metrics. */
  readonly name: string;
  /**
   * Only the whole key means something to it (patterns, networks): parts such as the domain of an address are not asked for.
   * access(5): "table entries … are searched with the full key only".
   */
  readonly wholeKeyOnly: boolean;
  /** Several values where the source has several rows or attributes; each as the result format makes it. Throws LookupUnavailable and nothing else. */
  get(key: LookupKey): Promise<readonly string[] | undefined>;
}

/** source: nothing of this source can be asked now; question: this one cannot be answered (a wrong query, too many values). */
export type OutageScope = "source" | "question";

/** Temporary, always. The message is for the log: it names the source and the cause, never a password or a key. */
export class LookupUnavailable extends Error {
  readonly lookup: string;
  readonly scope: OutageScope;

  constructor(lookup: string, scope: OutageScope, message: string, cause?: unknown) {
    super(`${lookup}: ${message}`, cause === undefined ? undefined : { cause });
    this.name = "LookupUnavailable";
    this.lookup = lookup;
    this.scope = scope;
  }
}
