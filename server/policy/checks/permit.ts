/**
 * What ends a list, or decides it outright: exemptions, and the plain words permit, reject and defer.
 * Every restriction list · pure · postconf(5) permit_mynetworks, permit_sasl_authenticated, permit_tls_clientcerts, permit_inet_interfaces, reject, defer, defer_if_*
 *
 * A permit ends its own list only; it never allows relaying.
 */
import { networkInterfaces } from "node:os";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { RestrictionFacts } from "../facts.ts";
import { plainAddress } from "../networks.ts";
import { defer, pass, permit, reject, uncertain, unsettled, type Verdict } from "../verdict.ts";

const exempt: Verdict = permit("restricted");

export const permitMynetworks: Check<RestrictionFacts> = ({ client }) => (client.isInTrustedNetwork() ? exempt : pass);

export const permitSaslAuthenticated: Check<RestrictionFacts> = ({ client }) =>
  client.user === undefined ? pass : exempt;

export const permitTlsClientCerts: Check<RestrictionFacts> = ({ client }) =>
  client.relayCertificate() === undefined ? pass : exempt;

const INTERFACES_MS = 60_000;
let interfaces: { readonly untilMs: number; readonly addresses: ReadonlySet<string> } | undefined;

/** Addresses of this pod come and go with its network; asking for them costs a system call each. */
function ownAddresses(nowMs: number): ReadonlySet<string> {
  if (interfaces === undefined || interfaces.untilMs <= nowMs) {
    const addresses = Object.values(networkInterfaces()).flatMap((each) =>
      (each ?? []).map(({ address }) => plainAddress(address)),
    );
    interfaces = { untilMs: nowMs + INTERFACES_MS, addresses: new Set(addresses) };
  }
  return interfaces.addresses;
}

export const permitInetInterfaces: Check<RestrictionFacts> = ({ client }) =>
  ownAddresses(Date.now()).has(client.address) ? exempt : pass;

export const permitAll: Check<RestrictionFacts> = () => exempt;
export const rejectAll: Check<RestrictionFacts> = () => reject("restricted", replies.accessRejected(undefined));
export const deferAll: Check<RestrictionFacts> = () => defer("restricted", replies.restrictedLater);
export const deferIfPermit: Check<RestrictionFacts> = () => uncertain("restricted", replies.deferIfPermit);
export const deferIfReject: Check<RestrictionFacts> = () => unsettled("restricted", replies.deferIfReject);

export const rejectPlaintextSession: Check<RestrictionFacts> = ({ client }) =>
  client.tls === undefined ? defer("tls-required", replies.encryptionWanted) : pass;
