/**
 * DNS lists of `restrictions.dnsbl`: Postfix's reject_rbl_client, reject_rhsbl_*, permit_dnswl_client, permit_rhswl_client, in the order of the configuration.
 * Stage rcpt · asks DNS; answers are kept, so that many recipients cost one question · RFC 5782
 *
 * Rules that look up the same are asked at once, and judged in order. A block list that does not answer lists nobody; an allow-list that does not answer makes a later
 * no for good one for now, as in Postfix. The sender and the name in HELO may be of any form: what is no domain is not looked up. A permit also spares greylisting.
 */
import type { DnsblRule } from "../../config/postscreen.ts";
import { addressQuery, askList, domainQuery, type Listing, listText, nameOfList } from "../../dns/dnsbl.ts";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { RcptFacts } from "../facts.ts";
import { defer, pass, permit, reject, unsettled, type Verdict } from "../verdict.ts";

const TIMEOUT_MS = 10_000;
/** For the words of a list that has answered: worth less of a wait. */
const TEXT_TIMEOUT_MS = 3000;

/** As Postfix's $rbl_class. */
const classes: Readonly<Record<DnsblRule["kind"], string>> = {
  Client: "Client host",
  ClientName: "Client host",
  ReverseClient: "Unverified Client host",
  Helo: "Helo command",
  Sender: "Sender address",
  Recipient: "Recipient address",
};

const domainOf = (address: string): string => address.slice(address.lastIndexOf("@") + 1);

interface Subject {
  /** What is asked for. */
  readonly query: string;
  /** What the client is told it was. */
  readonly shown: string;
}

async function subjectOf(kind: DnsblRule["kind"], facts: RcptFacts): Promise<Subject | undefined> {
  const { client, sender, recipient } = facts;
  const domain = (text: string | undefined, shown = text): Subject | undefined => {
    const query = text === undefined ? undefined : domainQuery(text);
    return query === undefined ? undefined : { query, shown: shown ?? query };
  };
  switch (kind) {
    case "Client": {
      const query = addressQuery(client.address);
      return query === undefined ? undefined : { query, shown: client.address };
    }
    case "ClientName":
      return domain(await client.name());
    case "ReverseClient": {
      const naming = await client.naming();
      return "name" in naming ? domain(naming.name) : undefined;
    }
    case "Helo":
      return domain(client.helo?.name);
    case "Sender":
      return sender === "" ? undefined : domain(domainOf(sender), sender);
    case "Recipient":
      return domain(domainOf(recipient.address), recipient.address);
    default:
      return kind satisfies never;
  }
}

/** A stranger's words in a reply line. */
const printable = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 200);

async function refusal(rule: DnsblRule, { query, shown }: Subject, facts: RcptFacts): Promise<Verdict> {
  if (rule.text !== undefined) return reject("dnsbl", replies.listedText(rule.text));
  const why = await listText(facts.client.dns, query, rule, TEXT_TIMEOUT_MS);
  return reject("dnsbl", replies.listed(classes[rule.kind], printable(shown), nameOfList(rule), why));
}

export const listedInDns: Check<RcptFacts> = (facts) => {
  const rules = facts.client.config.server.dnsbl ?? [];
  return rules.length === 0 ? pass : judge(rules, facts);
};

async function judge(rules: readonly DnsblRule[], facts: RcptFacts): Promise<Verdict> {
  const asked = rules.map(async (rule): Promise<{ subject: Subject | undefined; listing: Listing }> => {
    const subject = await subjectOf(rule.kind, facts);
    if (subject === undefined) return { subject, listing: "clear" };
    return { subject, listing: await askList(facts.client.dns, subject.query, rule, TIMEOUT_MS) };
  });
  let isUnsettled = false;
  for (const [place, rule] of rules.entries()) {
    const { subject, listing } = (await asked[place]) ?? { subject: undefined, listing: "clear" };
    if (listing === "unanswered" && rule.action === "Permit") isUnsettled = true;
    if (listing !== "listed" || subject === undefined) continue;
    if (rule.action === "Permit") return permit("dnsbl");
    return isUnsettled ? defer("dnsbl", replies.listUnanswered) : await refusal(rule, subject, facts);
  }
  return isUnsettled ? unsettled("dnsbl", replies.listUnanswered) : pass;
}
