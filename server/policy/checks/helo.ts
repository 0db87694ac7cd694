/**
 * The name in HELO or EHLO: is it one, is it whole, does it exist?
 * List helo · pure, but for RejectUnknownHelo, which asks DNS · postconf(5) reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname, reject_unknown_helo_hostname
 *
 * RFC 5321 §4.1.4 forbids to refuse mail because HELO does not match the address; it does not forbid to refuse what is no name. That it is given at all is heloMissing's.
 */
import type { DnsResult, MailExchange } from "../../dns/resolver.ts";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { RestrictionFacts } from "../facts.ts";
import { isFullyQualified, isHostnameInAscii, isHostnameOrAddress, isLiteral, isValidLiteral } from "../hostname.ts";
import { defer, pass, reject, uncertain, type Verdict } from "../verdict.ts";

/** A literal is judged alike by all three. */
function named(judge: (name: string, facts: RestrictionFacts) => Verdict | Promise<Verdict>): Check<RestrictionFacts> {
  return (facts) => {
    const name = facts.client.helo?.name;
    if (name === undefined) return pass;
    if (isLiteral(name)) return isValidLiteral(name) ? pass : reject("bad-helo", replies.heloInvalidAddress);
    return judge(name, facts);
  };
}

export const invalidHelo = named((name) =>
  isHostnameOrAddress(name) ? pass : reject("bad-helo", replies.heloInvalidName),
);

export const nonFqdnHelo = named((name) =>
  isHostnameInAscii(name) && isFullyQualified(name) ? pass : reject("bad-helo", replies.heloNotQualified),
);

/** Neither address nor MX. */
export const unknownHelo = named(async (name, { client: { dns } }) => {
  const answers: readonly DnsResult<string | MailExchange>["kind"][] = [(await dns.addresses(name)).kind];
  if (answers[0] === "found") return pass;
  const mx = (await dns.mx(name)).kind;
  if (mx === "found") return pass;
  return answers[0] === "temporary" || mx === "temporary"
    ? uncertain("unknown-helo", replies.heloUnknown)
    : defer("unknown-helo", replies.heloUnknown);
});
