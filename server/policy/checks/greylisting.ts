/**
 * Greylisting: who has not written to this recipient before is asked to come again; programs that only send do not.
 * Stage rcpt, when nothing else refuses · asks the shared state, through server/postscreen/greylist.ts · RFC 6647
 *
 * 451 4.7.1, not postgrey's 450 4.2.0: some senders take 450 for a mailbox that is locked, try again within seconds and give up.
 */
import { splitAddress } from "../../config/address.ts";
import type { GreylistingSettings } from "../../config/postscreen.ts";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { RcptFacts } from "../facts.ts";
import { isInNetworks } from "../networks.ts";
import { defer, pass, type Verdict } from "../verdict.ts";

/** RFC 5321 §4.5.1, RFC 2142: whoever has trouble with us must reach somebody. */
const alwaysReached = new Set(["postmaster", "abuse"]);

function isExemptRecipient(exempt: GreylistingSettings["exempt"], address: string): boolean {
  const parts = splitAddress(address);
  const domain = parts?.domain.toLowerCase();
  if (parts === undefined || alwaysReached.has(parts.localPart.toLowerCase())) return true;
  return exempt.recipients.includes(address) || exempt.recipients.includes(`@${domain}`);
}

async function isExemptName(domains: readonly string[], name: () => Promise<string | undefined>): Promise<boolean> {
  if (domains.length === 0) return false;
  const known = await name();
  return known !== undefined && domains.some((domain) => known === domain || known.endsWith(`.${domain}`));
}

export const greylisted: Check<RcptFacts> = (facts) => {
  const settings = facts.client.config.server.greylisting;
  if (settings === undefined || facts.client.greylist === undefined) return pass;
  if (facts.client.screening?.isAllowlisted === true) return pass;
  const { exempt } = settings;
  if (isInNetworks(exempt.networks, facts.client.address) || isExemptRecipient(exempt, facts.recipient.address))
    return pass;
  return judge(settings, facts);
};

async function judge(settings: GreylistingSettings, { client, sender, recipient }: RcptFacts): Promise<Verdict> {
  if (await isExemptName(settings.exempt.clientDomains, () => client.name())) return pass;
  const waitMs = await client.greylist?.wait(settings, client.address, sender, recipient.address);
  return waitMs === undefined ? pass : defer("greylisted", replies.greylisted(Math.max(1, Math.ceil(waitMs / 1000))));
}
