/**
 * ETRN: a client asks for the mail of a domain that waits here, for instance a host that is seldom on line.
 *
 * Only where the listener offers it, and only for domains of class Relay, which are the ones whose mail waits for their own server (Postfix' fast_flush_domains
 * are its relay_domains). The mail goes where it always goes, so whoever asks learns no more than whether something waits. `@domain` means its relayed children too;
 * `#queue` names are not known here. What is flushed is this pod's queue. RFC 1985 §5.
 */
import { domainKey } from "../config/address.ts";
import type { LiveConfig } from "../config/schema.ts";
import { decide } from "../policy/chain.ts";
import { stagesOf } from "../policy/reinject.ts";
import { replyLine } from "../reply.ts";
import { replies } from "./replies.ts";
import type { Answer, Session } from "./session.ts";
import { isRefusal } from "./transaction.ts";

/** `@example.org` of a provider with thousands of domains: a bound. */
const MOST_CHILDREN = 20;

/** Of class Relay: the domain itself, and with `@` those below it. */
function domainsOf({ domains }: LiveConfig, domain: string, withChildren: boolean): string[] {
  const own = domains.get(domain)?.class === "Relay" ? [domain] : [];
  if (!withChildren) return own;
  const children = [...domains].filter(([key, entry]) => entry.class === "Relay" && key.endsWith(`.${domain}`));
  return [...own, ...children.map(([key]) => key)].slice(0, MOST_CHILDREN);
}

export async function etrn(session: Session, argument: string): Promise<Answer> {
  const { client } = session;
  if (client.listener.etrn !== true) return session.refusal("etrn", "bad-command", replies.etrnNotOffered);
  if (client.helo === undefined) return session.refusal("etrn", "bad-sequence", replies.heloFirst);
  if (session.transaction !== undefined) return session.refusal("etrn", "bad-sequence", replies.transactionUnderWay);
  const withChildren = argument.startsWith("@");
  const domain = domainKey(withChildren ? argument.slice(1) : argument);
  if (domain === undefined || domain.startsWith("[") || argument.includes(" "))
    return session.refusal("etrn", "bad-command", replies.etrnSyntax);
  const decision = await decide(stagesOf(client.listener).etrn, { client, domain });
  if (isRefusal(decision)) {
    const { check, reason, reply } = decision;
    session.log.info({ domain, check, reason, reply: replyLine(reply) }, "etrn-refused");
    return session.refusal("etrn", reason, reply);
  }
  const wanted = domainsOf(client.config, domain, withChildren);
  if (wanted.length === 0) {
    session.log.info({ domain }, "etrn-refused");
    return session.refusal("etrn", "relay-denied", replies.etrnNotAllowed(domain));
  }
  const answers = await Promise.all(wanted.map((each) => session.ports.flushDomain(each)));
  if (answers.some(({ kind }) => kind === "unable")) return replies.etrnUnable(domain);
  if (answers.some(({ kind }) => kind === "started")) return replies.etrnStarted(domain);
  const messages = answers.reduce((sum, answer) => sum + (answer.kind === "done" ? answer.messages : 0), 0);
  return messages === 0 ? replies.etrnNothing(domain) : replies.etrnStartedCount(messages, domain);
}
