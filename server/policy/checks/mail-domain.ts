/**
 * The domain of an address: is it whole, does it exist, does it take mail?
 * Lists sender and recipient · RejectUnknown… asks DNS · postconf(5) reject_non_fqdn_sender, reject_unknown_sender_domain and those of the recipient; RFC 7505 (null MX)
 *
 * Unknown is temporary, as unknown_address_reject_code; our own Mailbox and Alias domains and address literals are not looked up.
 */
import { domainKey, splitAddress } from "../../config/address.ts";
import type { Reply } from "../../reply.ts";
import type { RecipientStanding } from "../../route/resolve.ts";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { ClientFacts, RestrictionFacts } from "../facts.ts";
import { isFullyQualified, isLiteral } from "../hostname.ts";
import { defer, pass, reject, uncertain, type Verdict } from "../verdict.ts";

/** The domain to judge; undefined where there is none to judge: the null sender, `<postmaster>`, a literal. */
function domainToJudge(address: string | undefined): string | undefined {
  if (address === undefined || address === "") return undefined;
  const domain = splitAddress(address)?.domain;
  return domain === undefined || isLiteral(domain) ? undefined : domain;
}

function notQualified(address: string | undefined, reply: Reply): Verdict {
  const domain = domainToJudge(address);
  return domain === undefined || isFullyQualified(domain) ? pass : reject("bad-address", reply);
}

export const nonFqdnSender: Check<RestrictionFacts> = ({ sender }) => notQualified(sender, replies.senderNotQualified);
export const nonFqdnRecipient: Check<RestrictionFacts> = ({ rcpt }) =>
  notQualified(rcpt?.recipient.address, replies.recipientNotQualified);

/** Mail for it ends here, or is rewritten here; a relay domain's does not, so it must exist. */
const isFinal = (standing: RecipientStanding): boolean =>
  standing.kind === "refused" || (standing.kind === "local" && standing.domainClass !== "Relay");

interface Unknown {
  readonly missing: Reply;
  readonly refusesMail: Reply;
}

async function unknownDomain(client: ClientFacts, domain: string, { missing, refusesMail }: Unknown): Promise<Verdict> {
  const name = domainKey(domain);
  if (name === undefined) return defer("unknown-domain", missing);
  const mx = await client.dns.mx(name);
  if (mx.kind === "found") {
    const isNull = mx.answers.length === 1 && ["", "."].includes(mx.answers[0]?.exchange ?? "");
    return isNull ? reject("unknown-domain", refusesMail) : pass;
  }
  if (mx.kind === "nxdomain") return defer("unknown-domain", missing);
  const addresses = await client.dns.addresses(name);
  if (addresses.kind === "found") return pass;
  return mx.kind === "temporary" || addresses.kind === "temporary"
    ? uncertain("unknown-domain", missing)
    : defer("unknown-domain", missing);
}

export const unknownSenderDomain: Check<RestrictionFacts> = async ({ client, sender }) => {
  const domain = domainToJudge(sender);
  if (sender === undefined || domain === undefined || isFinal(await client.standing(sender))) return pass;
  return await unknownDomain(client, domain, {
    missing: replies.senderDomainUnknown,
    refusesMail: replies.senderDomainTakesNoMail,
  });
};

export const unknownRecipientDomain: Check<RestrictionFacts> = async ({ client, rcpt }) => {
  const domain = domainToJudge(rcpt?.recipient.address);
  if (rcpt === undefined || domain === undefined || isFinal(rcpt.standing())) return pass;
  return await unknownDomain(client, domain, {
    missing: replies.recipientDomainUnknown,
    refusesMail: replies.recipientDomainTakesNoMail,
  });
};
