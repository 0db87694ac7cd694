/**
 * Access rules: AccessRule objects → `accessRules`, in the order in which the first match wins.
 *
 * Stands in build/. Ordered by priority (lower first), then namespace/name: an order that is the same however and whenever the objects were created, so that a
 * restored cluster decides as the lost one did. A match that means nothing is said and left out; the rest of its rule is in force.
 */
import ipaddr from "ipaddr.js";
import { type AccessRule as RenderedRule, regexpOf } from "../../server/config/access-rules.ts";
import { byName } from "./claims.ts";
import { type Context, letIn } from "./context.ts";
import { destinationAddress, tableAddress, tableDomain } from "./keys.ts";
import { type AccessRule, nameKey, objectKey } from "./world.ts";

type RenderedMatch = RenderedRule["match"][number];
type RenderedAction = RenderedRule["action"];

/** `10.0.0.0/8`, `2001:db8::/32`, or a single address; the host bits must be zero, because a typo there trusts or refuses the wrong ones. */
export function networkKey(text: string): string | undefined {
  const slash = text.indexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  if (!ipaddr.IPv4.isValidFourPartDecimal(address) && !ipaddr.IPv6.isValid(address)) return undefined;
  if (address.includes("%")) return undefined;
  const parsed = ipaddr.parse(address);
  const bits = parsed.kind() === "ipv4" ? 32 : 128;
  const prefix = slash < 0 ? bits : Number(text.slice(slash + 1));
  if (slash >= 0 && !/^[0-9]{1,3}$/.test(text.slice(slash + 1))) return undefined;
  if (prefix > bits) return undefined;
  const bytes = parsed.toByteArray();
  const isNetwork = bytes.every((byte, index) => (byte & (0xff >> Math.min(8, Math.max(0, prefix - index * 8)))) === 0);
  return isNetwork ? `${parsed.toString()}/${prefix}` : undefined;
}

function matchOf(match: AccessRule["spec"]["match"][number], rule: AccessRule): RenderedMatch | string {
  const { scope } = rule.spec;
  if (match.cidr !== undefined) {
    const network = networkKey(match.cidr);
    if (scope !== "Client" && scope !== "Helo")
      return `cidr ${match.cidr} matches network addresses and means nothing with scope ${scope}; use exact or domain`;
    return network === undefined
      ? `${match.cidr} is not a network; write the address of the network and its length, such as 192.0.2.0/24`
      : { kind: "cidr", value: network };
  }
  if (match.domain !== undefined) {
    const domain = tableDomain(match.domain);
    return domain === undefined ? `"${match.domain}" is not a domain` : { kind: "domain", value: domain };
  }
  if (match.regexp !== undefined) {
    return regexpOf(match.regexp) === undefined
      ? `"${match.regexp}" is not a regular expression that this server can run; write it in the syntax of RE2, which has no back-references and no look-around`
      : { kind: "regexp", value: match.regexp };
  }
  if (match.dnsName !== undefined) return { kind: "dnsName", value: match.dnsName.toLowerCase() };
  const exact = match.exact ?? "";
  if (scope === "Etrn") {
    const value = tableDomain(exact);
    return value === undefined ? `"${exact}" is not a domain` : { kind: "exact", value };
  }
  if (scope === "Sender" || scope === "Recipient") {
    // `user@`: this local part of whatever domain.
    if (/^[^@]+@$/.test(exact)) return { kind: "exact", value: exact.toLowerCase() };
    const value = exact === "<>" ? exact : exact.includes("@") ? tableAddress(exact) : undefined;
    return value === undefined
      ? `"${exact}" is not an address${scope === "Sender" ? ", nor <> for the null sender" : ""}`
      : { kind: "exact", value };
  }
  // A client's address in the form in which the socket reports it.
  return {
    kind: "exact",
    value: ipaddr.isValid(exact) ? ipaddr.parse(exact).toString() : exact.toLowerCase().replace(/\.$/, ""),
  };
}

/** A sentence where the action cannot be had. */
function actionOf(action: AccessRule["spec"]["action"]): RenderedAction | string {
  const worded = (text: string | undefined) => (text === undefined ? {} : { text });
  const reply = (written: NonNullable<typeof action.reject>) => ({
    ...(written.code === undefined ? {} : { code: written.code }),
    ...(written.enhancedCode === undefined ? {} : { enhanced: written.enhancedCode }),
    ...worded(written.text),
  });
  const { permit, reject, defer, deferIfPermit, deferIfReject, discard, hold, warn, prepend, checks, filter } = action;
  if (permit !== undefined) return { kind: "Permit" };
  if (reject !== undefined) return { kind: "Reject", ...reply(reject) };
  if (defer !== undefined) return { kind: "Defer", ...reply(defer) };
  if (deferIfPermit !== undefined) return { kind: "DeferIfPermit", ...worded(deferIfPermit.text) };
  if (deferIfReject !== undefined) return { kind: "DeferIfReject", ...worded(deferIfReject.text) };
  if (discard !== undefined) return { kind: "Discard", ...worded(discard.text) };
  if (hold !== undefined) return { kind: "Hold", ...worded(hold.text) };
  if (warn !== undefined) return { kind: "Warn", ...worded(warn.text) };
  if (prepend !== undefined) return { kind: "Prepend", field: prepend.field };
  if (checks !== undefined) return { kind: "Checks", checks };
  const named = (kind: "Redirect" | "Bcc", written: string): RenderedAction | string => {
    const address = destinationAddress(written);
    return address === undefined ? `"${written}" is not an address; correct the action` : { kind, address };
  };
  if (action.redirect !== undefined) return named("Redirect", action.redirect.address);
  if (action.bcc !== undefined) return named("Bcc", action.bcc.address);
  if (filter !== undefined)
    return "the action filter needs content filters, which this version does not have yet; choose another action";
  return { kind: "Dunno" };
}

export function buildAccessRules(context: Context): RenderedRule[] {
  const { world, findings } = context;
  const rules = letIn(context, world.accessRules).sort((a, b) => a.spec.priority - b.spec.priority || byName(a, b));
  return rules.flatMap((rule) => {
    const match: RenderedMatch[] = [];
    for (const written of rule.spec.match) {
      const found = matchOf(written, rule);
      if (typeof found === "string")
        findings.refuse(
          objectKey(rule),
          "Invalid",
          `${found}; correct that match, the others of this rule are in force.`,
        );
      else match.push(found);
    }
    const action = actionOf(rule.spec.action);
    if (typeof action === "string") {
      const reason = rule.spec.action.filter === undefined ? "Invalid" : "Unsupported";
      findings.refuse(objectKey(rule), reason, `${action}. Until then this rule is not in force.`);
      return [];
    }
    const { scope, table } = rule.spec;
    return match.length === 0
      ? []
      : [{ name: nameKey(rule), scope, ...(table === undefined ? {} : { table }), match, action }];
  });
}
