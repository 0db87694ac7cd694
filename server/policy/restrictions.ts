/**
 * Restrictions: what each named check of MailServer.spec.restrictions is, and the lists of a configuration as lists of the chain.
 *
 * Between the names (config/restrictions.ts) and the checks. A name means what Postfix's restriction of that name means; what a check needs and the stage does
 * not know yet (the recipient in a client list at MAIL) makes it pass. Lists are compiled once for each configuration.
 */
import { type AccessCheck, accessChecks, type PlainCheck, type RestrictionStage } from "../config/restrictions.ts";
import type { PolicyStage } from "../config/policy-services.ts";
import type { AccessScope } from "../config/access-rules.ts";
import { type AskingCheck, type CheckList, type NamedCheck, type Outcome, warned } from "./chain.ts";
import { accessCheck } from "./checks/access.ts";
import {
  unknownClientHostname,
  unknownForwardClientHostname,
  unknownReverseClientHostname,
} from "./checks/client-name.ts";
import { multiRecipientBounce, unauthPipelining } from "./checks/dialogue.ts";
import { invalidHelo, nonFqdnHelo, unknownHelo } from "./checks/helo.ts";
import {
  deferUnauthDestination,
  permitAuthDestination,
  unauthDestination,
  unlistedRecipient,
  unlistedSender,
} from "./checks/listed.ts";
import {
  authenticatedSenderLoginMismatch,
  knownSenderLoginMismatch,
  senderLoginMismatch,
  unauthenticatedSenderLoginMismatch,
} from "./checks/login.ts";
import { nonFqdnRecipient, nonFqdnSender, unknownRecipientDomain, unknownSenderDomain } from "./checks/mail-domain.ts";
import {
  deferAll,
  deferIfPermit,
  deferIfReject,
  permitAll,
  permitInetInterfaces,
  permitMynetworks,
  permitSaslAuthenticated,
  permitTlsClientCerts,
  rejectAll,
  rejectPlaintextSession,
} from "./checks/permit.ts";
import { policyServiceCalled, withPolicyServices } from "./checks/policy-service.ts";
import { unverifiedRecipient, unverifiedSender } from "./checks/verification.ts";
import type { ClientFacts, DataFacts, EtrnFacts, MailFacts, RcptFacts, RestrictionFacts } from "./facts.ts";

const meanings: Readonly<Record<Exclude<PlainCheck, "WarnIfReject">, AskingCheck<RestrictionFacts>>> = {
  PermitMynetworks: permitMynetworks,
  PermitSASLAuthenticated: permitSaslAuthenticated,
  PermitTLSClientCerts: permitTlsClientCerts,
  PermitInetInterfaces: permitInetInterfaces,
  PermitAuthDestination: permitAuthDestination,
  Permit: permitAll,
  Reject: rejectAll,
  Defer: deferAll,
  DeferIfPermit: deferIfPermit,
  DeferIfReject: deferIfReject,
  RejectUnknownClientHostname: unknownClientHostname,
  RejectUnknownReverseClientHostname: unknownReverseClientHostname,
  RejectUnknownForwardClientHostname: unknownForwardClientHostname,
  RejectPlaintextSession: rejectPlaintextSession,
  RejectInvalidHelo: invalidHelo,
  RejectNonFQDNHelo: nonFqdnHelo,
  RejectUnknownHelo: unknownHelo,
  RejectNonFQDNSender: nonFqdnSender,
  RejectUnknownSenderDomain: unknownSenderDomain,
  RejectUnlistedSender: unlistedSender,
  RejectUnverifiedSender: unverifiedSender,
  RejectSenderLoginMismatch: senderLoginMismatch,
  RejectAuthenticatedSenderLoginMismatch: authenticatedSenderLoginMismatch,
  RejectKnownSenderLoginMismatch: knownSenderLoginMismatch,
  RejectUnauthenticatedSenderLoginMismatch: unauthenticatedSenderLoginMismatch,
  RejectNonFQDNRecipient: nonFqdnRecipient,
  RejectUnknownRecipientDomain: unknownRecipientDomain,
  RejectUnlistedRecipient: unlistedRecipient,
  RejectUnverifiedRecipient: unverifiedRecipient,
  RejectUnauthDestination: unauthDestination,
  DeferUnauthDestination: deferUnauthDestination,
  RejectUnauthPipelining: unauthPipelining,
  RejectMultiRecipientBounce: multiRecipientBounce,
};

const scopes: Readonly<Record<AccessCheck, AccessScope>> = {
  CheckClientAccess: "Client",
  CheckHeloAccess: "Helo",
  CheckSenderAccess: "Sender",
  CheckRecipientAccess: "Recipient",
  CheckEtrnAccess: "Etrn",
};
const isAccessCheck = (name: string): name is AccessCheck => (accessChecks as readonly string[]).includes(name);
const isPlainCheck = (name: string): name is keyof typeof meanings => Object.hasOwn(meanings, name);

function checkOf(written: string): AskingCheck<RestrictionFacts> {
  const [name = "", table] = written.split(" ");
  if (name === "CheckPolicyService") return policyServiceCalled(table ?? "");
  if (isAccessCheck(name)) return accessCheck(scopes[name], table, checksOf);
  // The configuration's schema knows the same names.
  if (!isPlainCheck(name)) throw new TypeError(`no check is called ${name}`);
  return meanings[name];
}

const compiled = new WeakMap<readonly string[], readonly NamedCheck<RestrictionFacts>[]>();

/** The checks of a list; WarnIfReject has softened the one behind it. */
export function checksOf(names: readonly string[]): readonly NamedCheck<RestrictionFacts>[] {
  let checks = compiled.get(names);
  if (checks === undefined) {
    let softens = false;
    checks = names.flatMap((name) => {
      if (name === "WarnIfReject") {
        softens = true;
        return [];
      }
      const named: NamedCheck<RestrictionFacts> = { name, check: checkOf(name) };
      const checked = softens ? warned(named) : named;
      softens = false;
      return [checked];
    });
    compiled.set(names, checks);
  }
  return checks;
}

/** For whatever facts the stage has: the checks look at `asked` alone. */
function bound<F>(checks: readonly NamedCheck<RestrictionFacts>[], asked: RestrictionFacts): readonly NamedCheck<F>[] {
  // Most lists are empty.
  if (checks.length === 0) return [];
  const rebound = (outcome: Outcome<RestrictionFacts>): Outcome<F> =>
    outcome.kind === "ask" ? { kind: "ask", checks: bound(outcome.checks, asked) } : outcome;
  return checks.map(({ name, check }) => ({
    name,
    check: () => {
      const outcome = check(asked);
      return outcome instanceof Promise ? outcome.then(rebound) : rebound(outcome);
    },
  }));
}

const nothingYet = { sender: undefined, rcpt: undefined, recipients: 0, domain: undefined };
const factsOf = {
  client: (client: ClientFacts): RestrictionFacts => ({ ...nothingYet, client }),
  mail: ({ client, sender }: MailFacts): RestrictionFacts => ({ ...nothingYet, client, sender: sender.address }),
  rcpt: (rcpt: RcptFacts): RestrictionFacts => ({
    ...nothingYet,
    client: rcpt.client,
    sender: rcpt.sender,
    rcpt,
    recipients: rcpt.recipients,
  }),
  data: (data: DataFacts): RestrictionFacts => ({
    ...nothingYet,
    client: data.client,
    sender: data.sender,
    data,
    recipients: data.recipients.length,
  }),
  etrn: ({ client, domain }: EtrnFacts): RestrictionFacts => ({ ...nothingYet, client, domain }),
} as const;

/** Services of the stage Recipient have a place of their own (stages.ts). */
const policyStages: Readonly<Partial<Record<RestrictionStage, PolicyStage>>> = {
  client: "Client",
  helo: "Helo",
  sender: "Sender",
  data: "Data",
  etrn: "Etrn",
};

function listOf(name: RestrictionStage, asked: RestrictionFacts): readonly NamedCheck<RestrictionFacts>[] {
  const checks = checksOf(asked.client.config.server.restrictions[name]);
  const stage = policyStages[name];
  return stage === undefined ? checks : withPolicyServices(stage, checks, asked);
}

/** RFC 5321 §4.5.1: no list refuses `<postmaster>` without a domain, as in Postfix. */
const isPostmaster = ({ rcpt }: RestrictionFacts): boolean => rcpt?.recipient.address.toLowerCase() === "postmaster";

/** A list of the configuration as a list of the chain. The recipient's shares its mercy with the lists before and behind it, which are about relaying and existence. */
const listFrom =
  <F>(facts: (facts: F) => RestrictionFacts) =>
  (name: RestrictionStage): CheckList<F> => ({
    name,
    apart: name !== "recipient",
    checks: (given) => {
      const asked = facts(given);
      if (isPostmaster(asked)) return [];
      return bound(listOf(name, asked), asked);
    },
  });

/** Where delayReject is off: what refuses is said as soon as it is known. The list is asked again at RCPT, for what else it may say. */
const earlyFrom =
  <F>(facts: (facts: F) => RestrictionFacts) =>
  (name: RestrictionStage): CheckList<F> => ({
    name,
    early: true,
    checks: (given) => {
      const asked = facts(given);
      const { restrictions } = asked.client.config.server;
      return restrictions.delayReject ? [] : bound(listOf(name, asked), asked);
    },
  });

/** By the stage that asks. */
export const restrictions = {
  atConnect: earlyFrom(factsOf.client),
  atHelo: earlyFrom(factsOf.client),
  atMail: earlyFrom(factsOf.mail),
  atRcpt: listFrom(factsOf.rcpt),
  atData: listFrom(factsOf.data),
  atEtrn: listFrom(factsOf.etrn),
} as const;
