/**
 * Access rules: the AccessRules of the configuration, first match of a scope wins.
 * Stages mail (client, helo, sender) and rcpt (recipient) · asks the client's name only if a rule is about names
 *
 * Client and HELO rules are asked at MAIL, not at the greeting: the log then names the sender, and an edited rule holds for the next
 * transaction of a kept connection. Permit ends the list; it never allows relaying. Discard of a recipient drops that recipient, any other the message.
 * Rules are indexed once for each list, so that thousands cost a few map look-ups.
 */
import { BlockList } from "node:net";
import { addressKey, splitAddress } from "../../config/address.ts";
import type { AccessRule } from "../../config/schema.ts";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { MailFacts, RcptFacts } from "../facts.ts";
import { addBlock, isInBlocks } from "../networks.ts";
import { defer, discard, pass, permit, type Reason, reject, type Verdict } from "../verdict.ts";

type Scope = AccessRule["scope"];
type Action = AccessRule["action"];

interface ScopeIndex {
  readonly rules: readonly AccessRule[];
  /** Pattern → place of the first rule that has it. */
  readonly exact: Map<string, number>;
  readonly domain: Map<string, number>;
  readonly cidr: { readonly place: number; readonly blocks: BlockList }[];
  /** Whether the name of the client can matter. */
  asksName: boolean;
}

const SCOPES: readonly Scope[] = ["Client", "Helo", "Sender", "Recipient"];
const compiled = new WeakMap<readonly AccessRule[], ReadonlyMap<Scope, ScopeIndex>>();

const isAboutAddresses = (scope: Scope): boolean => scope === "Sender" || scope === "Recipient";

function indexOf(rules: readonly AccessRule[]): ReadonlyMap<Scope, ScopeIndex> {
  const known = compiled.get(rules);
  if (known !== undefined) return known;
  const index = new Map<Scope, ScopeIndex>(
    SCOPES.map((scope) => [scope, { rules, exact: new Map(), domain: new Map(), cidr: [], asksName: false }]),
  );
  const first = (map: Map<string, number>, key: string, place: number): void => {
    if (!map.has(key)) map.set(key, place);
  };
  rules.forEach((rule, place) => {
    const scope = index.get(rule.scope);
    if (scope === undefined) return;
    for (const match of rule.match) {
      if (match.kind === "exact") {
        first(
          scope.exact,
          (isAboutAddresses(rule.scope) ? addressKey(match.value) : undefined) ?? match.value.toLowerCase(),
          place,
        );
        scope.asksName ||= !/^[0-9a-f.:]+$/i.test(match.value);
      } else if (match.kind === "domain") {
        first(scope.domain, match.value.toLowerCase(), place);
        scope.asksName = true;
      } else {
        const blocks = new BlockList();
        if (addBlock(blocks, match.value)) scope.cidr.push({ place, blocks });
      }
    }
  });
  compiled.set(rules, index);
  return index;
}

/** The first rule, in the order of the configuration, that matches any of these. */
function firstMatch(
  scope: ScopeIndex,
  exact: readonly string[],
  domains: readonly string[],
  address?: string,
): AccessRule | undefined {
  let best = Number.POSITIVE_INFINITY;
  for (const value of exact) best = Math.min(best, scope.exact.get(value) ?? best);
  if (scope.domain.size > 0) {
    for (const domain of domains) {
      for (let at = 0; at >= 0; at = domain.indexOf(".", at + 1)) {
        best = Math.min(best, scope.domain.get(at === 0 ? domain : domain.slice(at + 1)) ?? best);
      }
    }
  }
  if (address !== undefined) {
    for (const { place, blocks } of scope.cidr) {
      if (place >= best) break;
      if (isInBlocks(blocks, address)) best = place;
    }
  }
  return scope.rules[best];
}

function verdictOf(action: Action | undefined, reason: Reason): Verdict {
  switch (action?.kind) {
    case undefined:
    case "Dunno":
      return pass;
    case "Permit":
      return permit(reason);
    case "Reject":
      return reject(reason, replies.accessRejected(action.text));
    case "Defer":
      return defer(reason, replies.accessDeferred(action.text));
    case "Discard":
      return discard(reason);
    default:
      return action satisfies never;
  }
}

const scopeOf = (rules: readonly AccessRule[], scope: Scope): ScopeIndex | undefined =>
  rules.length === 0 ? undefined : indexOf(rules).get(scope);

export const clientAccess: Check<MailFacts> = ({ client }) => {
  const scope = scopeOf(client.config.server.accessRules, "Client");
  if (scope === undefined) return pass;
  const judge = (name: string | undefined): Verdict => {
    const names = name === undefined ? [] : [name];
    return verdictOf(firstMatch(scope, [client.address, ...names], names, client.address)?.action, "access-client");
  };
  return scope.asksName ? client.name().then(judge) : judge(undefined);
};

export const heloAccess: Check<MailFacts> = ({ client }) => {
  const scope = scopeOf(client.config.server.accessRules, "Helo");
  if (scope === undefined || client.helo === undefined) return pass;
  const name = client.helo.name.toLowerCase();
  const literal = /^\[(?:ipv6:)?(.+)\]$/.exec(name)?.[1];
  return verdictOf(firstMatch(scope, [name], [name], literal)?.action, "access-helo");
};

/** The null sender is written `<>` in a rule. */
function addressAccess(
  rules: readonly AccessRule[],
  kind: "Sender" | "Recipient",
  address: string,
  reason: Reason,
): Verdict {
  const scope = scopeOf(rules, kind);
  if (scope === undefined) return pass;
  const key = address === "" ? "<>" : (addressKey(address) ?? address.toLowerCase());
  const domain = splitAddress(key)?.domain;
  return verdictOf(firstMatch(scope, [key], domain === undefined ? [] : [domain])?.action, reason);
}

export const senderAccess: Check<MailFacts> = ({ client, sender }) =>
  addressAccess(client.config.server.accessRules, "Sender", sender.address, "access-sender");

export const recipientAccess: Check<RcptFacts> = ({ client, recipient }) =>
  addressAccess(client.config.server.accessRules, "Recipient", recipient.address, "access-recipient");
