/**
 * Relaying: mail for a domain that is not ours is taken only from those who may send through us.
 * Stage rcpt · pure · RFC 5321 §3.6.2, §7.9 (554 5.7.1)
 *
 * They are clients of trusted networks, authenticated users, and clients whose certificate a RelayClientCert names, within its senders,
 * recipients and time. No AccessRule opens this door.
 */
import { addressKey, splitAddress } from "../../config/address.ts";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { ClientFacts, RcptFacts } from "../facts.ts";
import { pass, reject } from "../verdict.ts";

/** Empty: any. Entries are addresses or `@domain`. */
function isListed(list: readonly string[], address: string): boolean {
  if (list.length === 0) return true;
  const key = addressKey(address);
  return key !== undefined && (list.includes(key) || list.includes(`@${splitAddress(key)?.domain ?? ""}`));
}

export function mayRelay(client: ClientFacts, sender: string, recipient: string): boolean {
  if (client.user !== undefined || client.isInTrustedNetwork()) return true;
  const certificate = client.relayCertificate();
  return (
    certificate !== undefined && isListed(certificate.senders, sender) && isListed(certificate.recipients, recipient)
  );
}

/**
 * `user%elsewhere@ours`, `elsewhere!user@ours`, `"user@elsewhere"@ours`: routes hidden in a local part. For a domain we hand on unread (class Relay)
 * the next hop might follow them, so strangers may not write them (Postfix allow_untrusted_routing = no).
 */
export const hiddenRoute: Check<RcptFacts> = (facts) => {
  const standing = facts.standing();
  if (standing.kind !== "local" || standing.domainClass !== "Relay") return pass;
  const { address } = facts.recipient;
  if (!/[%!@]/.test(address.slice(0, Math.max(address.lastIndexOf("@"), 0)))) return pass;
  return mayRelay(facts.client, facts.sender, address) ? pass : reject("relay-denied", replies.relayDenied);
};

export const relayDenied: Check<RcptFacts> = (facts) => {
  if (facts.standing().kind !== "remote") return pass;
  return mayRelay(facts.client, facts.sender, facts.recipient.address)
    ? pass
    : reject("relay-denied", replies.relayDenied);
};
