/**
 * Exempt: who need not prove anything to DNS lists and greylisting.
 * Stage rcpt, in front of them in their list · asks the client's name only if an access rule is about names
 *
 * Those who may send through us, everybody on a listener that is not for the world, and whom an access rule permits (client, HELO, sender or recipient): the permit that ended the list
 * of its own scope ends this one as well, as it does in Postfix, where such rules stand in one list with reject_rbl_client.
 */
import type { Check, NamedCheck, Outcome } from "../chain.ts";
import type { RcptFacts, RestrictionFacts } from "../facts.ts";
import { pass, permit, type Verdict } from "../verdict.ts";
import { accessCheck } from "./access.ts";
import { mayRelay } from "./relay.ts";

export const nothingToProve: Check<RcptFacts> = ({ client }) => {
  const { dnsbl, greylisting } = client.config.server;
  return dnsbl === undefined && greylisting === undefined ? permit("restricted") : pass;
};

export const clientIsOurs: Check<RcptFacts> = ({ client, sender, recipient }) =>
  client.listener.role !== "MX" || mayRelay(client, sender, recipient.address) ? permit("restricted") : pass;

/** What a rule wants besides (HOLD, PREPEND and so on) has happened in its own list. */
function permits(outcome: Outcome<RestrictionFacts>, facts: RestrictionFacts): boolean {
  if (outcome.kind !== "ask") return outcome.kind === "permit";
  return outcome.checks.some(({ check }: NamedCheck<RestrictionFacts>) => {
    const inner = check(facts);
    return !(inner instanceof Promise) && inner.kind === "permit";
  });
}

const accessScopes = (["Client", "Helo", "Sender", "Recipient"] as const).map((scope) =>
  accessCheck(scope, undefined, () => []),
);

export const permittedByAccessRule: Check<RcptFacts> = (rcpt) =>
  rcpt.client.config.server.accessRules.length === 0 ? pass : askRules(rcpt);

async function askRules(rcpt: RcptFacts): Promise<Verdict> {
  const { client, sender, recipients } = rcpt;
  const facts: RestrictionFacts = { client, sender, rcpt, recipients, domain: undefined };
  for (const check of accessScopes) if (permits(await check(facts), facts)) return permit("restricted");
  return pass;
}
