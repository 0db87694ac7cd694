/**
 * Access rules: the AccessRules of the configuration, first match of a scope (and table) wins.
 * The list that names them, by default that of their scope · asks the client's name only if a rule is about names · access(5)
 *
 * Permit ends the list; it never allows relaying. Discard of a recipient drops that recipient, of anything else the message. A rule may name other checks
 * to be asked in its place. Rules are indexed once for each configuration, so that thousands cost a few map look-ups; patterns take linear time whatever they are.
 */
import { BlockList } from "node:net";
import { RE2JS } from "re2js";
import { addressKey, splitAddress } from "../../config/address.ts";
import { type AccessAction, type AccessRule, type AccessScope, regexpOf } from "../../config/access-rules.ts";
import { replies } from "../../session/replies.ts";
import type { AskingCheck, NamedCheck, Outcome } from "../chain.ts";
import { prepend } from "../effect.ts";
import type { ClientFacts, RestrictionFacts } from "../facts.ts";
import { addBlock, isInBlocks } from "../networks.ts";
import { defer, discard, effect, pass, permit, type Reason, reject, uncertain, unsettled } from "../verdict.ts";
import { accessByLookup } from "./access-lookup.ts";
import { spellings } from "./ownership.ts";

interface Pattern {
  readonly place: number;
  readonly matches: (text: string) => boolean;
}

/** The rules of one scope and table. Places are those of the configuration: the lowest that matches wins. */
interface RuleIndex {
  readonly rules: readonly AccessRule[];
  readonly exact: Map<string, number>;
  readonly domain: Map<string, number>;
  readonly cidr: { readonly place: number; readonly blocks: BlockList }[];
  readonly regexp: Pattern[];
  readonly dnsName: Pattern[];
  /** Whether the name of the client can matter. */
  asksName: boolean;
}

const indexed = new WeakMap<readonly AccessRule[], ReadonlyMap<string, RuleIndex>>();
const keyOf = (scope: AccessScope, table: string | undefined): string => `${scope} ${table ?? ""}`;

const isAboutAddresses = (scope: AccessScope): boolean => scope === "Sender" || scope === "Recipient";

/** `*` is any part of a label: `*.dyn.example`, `dsl-*.example`. */
function nameTest(written: string): (name: string) => boolean {
  const pattern = RE2JS.compile(
    `^(?:${written
      .toLowerCase()
      .split("*")
      .map((part) => RE2JS.quote(part))
      .join("[^.]*")})$`,
  );
  return (name) => pattern.matcher(name).find();
}

/** What is no pattern matches nothing; the operator has refused it. */
function textTest(written: string): (text: string) => boolean {
  const pattern = regexpOf(written);
  return (text) => pattern?.matcher(text).find() === true;
}

function first(map: Map<string, number>, key: string, place: number): void {
  if (!map.has(key)) map.set(key, place);
}

function addRule(index: RuleIndex, rule: AccessRule, place: number): void {
  for (const match of rule.match) {
    switch (match.kind) {
      case "exact": {
        const address =
          isAboutAddresses(rule.scope) && !match.value.endsWith("@") ? addressKey(match.value) : undefined;
        first(index.exact, address ?? match.value.toLowerCase(), place);
        index.asksName ||= !/^[0-9a-f.:]+$/i.test(match.value);
        break;
      }
      case "domain":
        first(index.domain, match.value.toLowerCase(), place);
        index.asksName = true;
        break;
      case "cidr": {
        const blocks = new BlockList();
        if (addBlock(blocks, match.value)) index.cidr.push({ place, blocks });
        break;
      }
      case "regexp":
        index.regexp.push({ place, matches: textTest(match.value) });
        index.asksName = true;
        break;
      case "dnsName":
        index.dnsName.push({ place, matches: nameTest(match.value) });
        index.asksName = true;
        break;
      default:
        match satisfies never;
    }
  }
}

function indexOf(rules: readonly AccessRule[]): ReadonlyMap<string, RuleIndex> {
  const known = indexed.get(rules);
  if (known !== undefined) return known;
  const all = new Map<string, RuleIndex>();
  rules.forEach((rule, place) => {
    const key = keyOf(rule.scope, rule.table);
    const index: RuleIndex = all.get(key) ?? {
      rules,
      exact: new Map(),
      domain: new Map(),
      cidr: [],
      regexp: [],
      dnsName: [],
      asksName: false,
    };
    all.set(key, index);
    addRule(index, rule, place);
  });
  indexed.set(rules, all);
  return all;
}

/** What a rule is compared with. */
interface Subject {
  readonly exact: readonly string[];
  /** Names of hosts or domains. */
  readonly names: readonly string[];
  /** What patterns see. */
  readonly texts: readonly string[];
  readonly address?: string | undefined;
}

/** The first rule, in the order of the configuration, that matches any of these. */
function firstMatch(index: RuleIndex, { exact, names, texts, address }: Subject): AccessRule | undefined {
  let best = Number.POSITIVE_INFINITY;
  for (const value of exact) best = Math.min(best, index.exact.get(value) ?? best);
  if (index.domain.size > 0) {
    for (const name of names) {
      for (let at = 0; at >= 0; at = name.indexOf(".", at + 1)) {
        best = Math.min(best, index.domain.get(at === 0 ? name : name.slice(at + 1)) ?? best);
      }
    }
  }
  const tried = (patterns: readonly Pattern[], candidates: readonly string[]): void => {
    for (const { place, matches } of patterns) {
      if (place >= best) break;
      if (candidates.some(matches)) best = place;
    }
  };
  tried(index.regexp, texts);
  tried(index.dnsName, names);
  if (address !== undefined) {
    for (const { place, blocks } of index.cidr) {
      if (place >= best) break;
      if (isInBlocks(blocks, address)) best = place;
    }
  }
  return index.rules[best];
}

/** From names of checks to checks: policy/restrictions.ts, which holds these checks too. */
export type ChecksOf = (names: readonly string[]) => readonly NamedCheck<RestrictionFacts>[];

function outcomeOf(rule: AccessRule, reason: Reason, checksOf: ChecksOf): Outcome<RestrictionFacts> {
  const action: AccessAction = rule.action;
  switch (action.kind) {
    case "Dunno":
      return pass;
    case "Permit":
      return permit(reason);
    case "Reject":
    case "Defer": {
      const { code = action.kind === "Reject" ? 554 : 450, enhanced = "5.7.1", text } = action;
      return (code < 500 ? defer : reject)(
        reason,
        replies.accessRefused(code, enhanced, text ?? (action.kind === "Defer" ? "Try again later" : undefined)),
      );
    }
    case "DeferIfPermit":
      return uncertain(reason, replies.accessDeferIfPermit(action.text));
    case "DeferIfReject":
      return unsettled(reason, replies.accessDeferIfPermit(action.text));
    case "Discard":
      return discard(reason);
    case "Hold":
      return effect({ kind: "hold" });
    case "Redirect":
      return effect({ kind: "redirect", address: action.address });
    case "Bcc":
      return effect({ kind: "bcc", address: action.address });
    case "Prepend": {
      const field = prepend(action.field);
      return field === undefined ? pass : effect(field);
    }
    case "Warn":
      return { kind: "note", level: "warn", text: action.text ?? "matched" };
    case "Checks":
      return { kind: "ask", checks: checksOf(action.checks) };
    default:
      return action satisfies never;
  }
}

/** Under the name of the rule, so that the log says which one it was; what it wants to be read goes first. */
function namedOutcome(name: string, rule: AccessRule, reason: Reason, checksOf: ChecksOf): Outcome<RestrictionFacts> {
  const { action } = rule;
  if (action.kind === "Dunno") return pass;
  const ruleName = `${name} ${rule.name}`;
  const decides: NamedCheck<RestrictionFacts> = { name: ruleName, check: () => outcomeOf(rule, reason, checksOf) };
  if ((action.kind !== "Hold" && action.kind !== "Discard") || action.text === undefined)
    return { kind: "ask", checks: [decides] };
  const { text } = action;
  return { kind: "ask", checks: [{ name: ruleName, check: () => ({ kind: "note", level: "info", text }) }, decides] };
}

const REASON_OF: Readonly<Record<AccessScope, Reason>> = {
  Client: "access-client",
  Helo: "access-helo",
  Sender: "access-sender",
  Recipient: "access-recipient",
  Etrn: "access-etrn",
};

/** Name and address: patterns see both, as Postfix looks up both. A client without a confirmed name is called `unknown`. */
function clientSubject(client: ClientFacts, name: string | undefined): Subject {
  return {
    exact: [client.address, name ?? "unknown"],
    names: name === undefined ? [] : [name],
    texts: name === undefined ? [client.address] : [name, client.address],
    address: client.address,
  };
}

function heloSubject(helo: string): Subject {
  const name = helo.toLowerCase();
  return { exact: [name], names: [name], texts: [name], address: /^\[(?:ipv6:)?(.+)\]$/.exec(name)?.[1] };
}

/** As written, without its extension, `local@`; the null sender is written `<>` in a rule. */
function addressSubject(address: string, client: ClientFacts): Subject {
  if (address === "") return { exact: ["<>"], names: [], texts: ["<>"] };
  const key = addressKey(address) ?? address.toLowerCase();
  const parts = splitAddress(key);
  const keys = spellings(client.config, key);
  return {
    exact: [...keys, ...keys.map((each) => each.slice(0, each.lastIndexOf("@") + 1))],
    names: parts === undefined ? [] : [parts.domain],
    texts: [key],
  };
}

function subjectOf(scope: Exclude<AccessScope, "Client">, facts: RestrictionFacts): Subject | undefined {
  const { client } = facts;
  switch (scope) {
    case "Helo":
      return client.helo === undefined ? undefined : heloSubject(client.helo.name);
    case "Sender":
      return facts.sender === undefined ? undefined : addressSubject(facts.sender, client);
    case "Recipient":
      return facts.rcpt === undefined ? undefined : addressSubject(facts.rcpt.recipient.address, client);
    case "Etrn":
      return facts.domain === undefined
        ? undefined
        : { exact: [facts.domain], names: [facts.domain], texts: [facts.domain] };
    default:
      return scope satisfies never;
  }
}

type Answered = Outcome<RestrictionFacts> | Promise<Outcome<RestrictionFacts>>;

export function accessCheck(
  scope: AccessScope,
  table: string | undefined,
  checksOf: ChecksOf,
): AskingCheck<RestrictionFacts> {
  const key = keyOf(scope, table);
  return (facts) => {
    const { client } = facts;
    const rules = client.config.server.accessRules;
    const index = rules.length === 0 ? undefined : indexOf(rules).get(key);
    const byLookup = (): Answered => accessByLookup(scope, table, REASON_OF[scope], facts);
    if (index === undefined) return byLookup();
    const judge = (subject: Subject): Answered => {
      const rule = firstMatch(index, subject);
      return rule === undefined ? byLookup() : namedOutcome(`Check${scope}Access`, rule, REASON_OF[scope], checksOf);
    };
    if (scope === "Client") {
      return index.asksName
        ? client.name().then((name) => judge(clientSubject(client, name)))
        : judge(clientSubject(client, undefined));
    }
    const subject = subjectOf(scope, facts);
    return subject === undefined ? pass : judge(subject);
  };
}
