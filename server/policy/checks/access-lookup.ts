/**
 * Access tables of look-ups: actions as access(5) writes them, from MySQL, LDAP, socketmap or an inline table.
 * The check of the AccessRules asks them where no rule matches · asks look-ups · access(5)
 *
 * A source that a list names (`CheckSenderAccess db`) is asked there alone; one with the role Access that no list names is asked by the list of every scope. What
 * it answers is its own affair as little as an AccessRule's is: OK ends the list and never relays. Cannot be asked: uncertain. Cannot be read: 451 4.3.5.
 */
import { addressKey } from "../../config/address.ts";
import type { AccessScope } from "../../config/access-rules.ts";
import { accessChecks } from "../../config/restrictions.ts";
import type { ServerSection } from "../../config/schema.ts";
import { type Answer, joined, type Lookups } from "../../lookup/lookups.ts";
import { accessAddressKeys, accessHostKeys, domainKeys } from "../../lookup/search-order.ts";
import { replies } from "../../session/replies.ts";
import { parseAction } from "../action.ts";
import type { Outcome } from "../chain.ts";
import type { RestrictionFacts } from "../facts.ts";
import { defer, pass, type Reason, uncertain } from "../verdict.ts";

const named = new WeakMap<ServerSection, ReadonlySet<string>>();

/** Names behind the access checks of all lists and rules. */
function namedTables(server: ServerSection): ReadonlySet<string> {
  let known = named.get(server);
  if (known === undefined) {
    const { delayReject: _, ...lists } = server.restrictions;
    const rules = server.accessRules.flatMap(({ action }) => (action.kind === "Checks" ? action.checks : []));
    const checks = [...Object.values(lists).flat(), ...rules].map((check) => check.split(" "));
    known = new Set(
      checks.flatMap(([name = "", table]) =>
        table !== undefined && accessChecks.some((each) => each === name) ? [table] : [],
      ),
    );
    named.set(server, known);
  }
  return known;
}

/** Each list of keys is a question of its own: patterns and networks see its first key. */
async function keysOf(scope: AccessScope, facts: RestrictionFacts): Promise<readonly (readonly string[])[]> {
  const { client, sender, rcpt, domain } = facts;
  const address = (written: string): readonly (readonly string[])[] => [
    accessAddressKeys(addressKey(written) ?? written, client.config.server.recipientDelimiters),
  ];
  switch (scope) {
    case "Client":
      return [accessHostKeys((await client.name()) ?? "unknown"), accessHostKeys(client.address)];
    case "Helo":
      return client.helo === undefined ? [] : [accessHostKeys(client.helo.name)];
    case "Sender":
      return sender === undefined ? [] : address(sender);
    case "Recipient":
      return rcpt === undefined ? [] : address(rcpt.recipient.address);
    case "Etrn":
      return domain === undefined ? [] : [domainKeys(domain)];
    default:
      return scope satisfies never;
  }
}

async function ask(
  lookups: Lookups,
  sources: readonly string[],
  questions: readonly (readonly string[])[],
): Promise<Answer | undefined> {
  for (const keys of questions) {
    const answer = await lookups.first("access", keys, sources);
    if (answer !== undefined) return answer;
  }
  return undefined;
}

async function judge(
  lookups: Lookups,
  sources: readonly string[],
  { scope, reason, facts }: { readonly scope: AccessScope; readonly reason: Reason; readonly facts: RestrictionFacts },
): Promise<Outcome<RestrictionFacts>> {
  let answer: Answer | undefined;
  try {
    answer = await ask(lookups, sources, await keysOf(scope, facts));
  } catch {
    // The look-ups have told the log why.
    return uncertain("lookup-failed", replies.lookupFailed);
  }
  if (answer === undefined) return pass;
  const action = parseAction(joined(answer.values), reason);
  const name = `Check${scope}Access ${answer.lookup}`;
  if (action.ok) return { kind: "ask", checks: [{ name, check: () => action.value }] };
  const note = { kind: "note", level: "warn", text: `the action cannot be used: ${action.error}` } as const;
  return {
    kind: "ask",
    checks: [
      { name, check: () => note },
      { name, check: () => defer("lookup-failed", replies.accessUnreadable) },
    ],
  };
}

/** What look-ups say; at once where there is nobody to ask. */
export function accessByLookup(
  scope: AccessScope,
  table: string | undefined,
  reason: Reason,
  facts: RestrictionFacts,
): Outcome<RestrictionFacts> | Promise<Outcome<RestrictionFacts>> {
  const { lookups, config } = facts.client;
  if (lookups === undefined) return pass;
  const sources =
    table === undefined
      ? lookups.names("access").filter((name) => !namedTables(config.server).has(name))
      : lookups.names("access").includes(table) || lookups.table(table) !== undefined
        ? [table]
        : [];
  return sources.length === 0 ? pass : judge(lookups, sources, { scope, reason, facts });
}
