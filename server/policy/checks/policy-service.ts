/**
 * Policy services: daemons of the configuration are asked, in its order, and their actions become verdicts.
 * Lists client, helo, sender, data and etrn (restrictions.ts), rcpt, end · asks over the network, bounded in time by delegate/
 *
 * A service stands at the end of the list of its stage, as `check_policy_service` at the end of smtpd_…_restrictions does; one that is for all clients stands in front, where no
 * exemption ends the list. At RCPT they come last of all, behind the same exemptions as greylisting: a daemon is not asked about a recipient we refuse. A list may also name
 * a service (CheckPolicyService). OK of one service ends the list; it never allows relaying. SMTPD_POLICY_README.
 */
import type { PolicyService, PolicyStage } from "../../config/policy-services.ts";
import type { PolicyAttributes, ProtocolState } from "../../delegate/attributes.ts";
import { replies } from "../../session/replies.ts";
import type { AskingCheck, CheckList, NamedCheck } from "../chain.ts";
import type { ClientFacts, EndFacts, RcptFacts, RestrictionFacts } from "../facts.ts";
import { defer, pass, type Verdict } from "../verdict.ts";
import { clientIsOurs, permittedByAccessRule } from "./exempt.ts";
import { mayRelay } from "./relay.ts";

/** What a stage knows besides the client. */
interface Particulars {
  readonly state: ProtocolState;
  readonly sender?: string | undefined;
  readonly recipient?: string | undefined;
  readonly recipients?: number;
  readonly queueId?: string;
  readonly instance?: string;
  readonly size?: number | undefined;
  readonly etrnDomain?: string;
}

/** As Postfix writes a digest. */
const fingerprint = (hex: string | undefined): string =>
  hex === undefined ? "" : (hex.toUpperCase().match(/../g) ?? []).join(":");

async function attributesOf(client: ClientFacts, about: Particulars): Promise<PolicyAttributes> {
  const naming = await client.naming();
  const written = "name" in naming ? naming.name : undefined;
  const { helo, tls, server } = client;
  return {
    protocol_state: about.state,
    protocol_name: helo?.extended === true ? "ESMTP" : "SMTP",
    client_address: client.address,
    client_name: naming.kind === "named" ? naming.name : "unknown",
    client_port: client.port === undefined ? "" : String(client.port),
    reverse_client_name: written === undefined || written === "" ? "unknown" : written,
    server_address: server?.address ?? "",
    server_port: server === undefined ? "" : String(server.port),
    helo_name: helo?.name ?? "",
    sender: about.sender ?? "",
    recipient: about.recipient ?? "",
    recipient_count: String(about.recipients ?? 0),
    queue_id: about.queueId ?? "",
    instance: about.instance ?? client.instance,
    size: String(about.size ?? 0),
    etrn_domain: about.etrnDomain ?? "",
    stress: client.isStressed ? "yes" : "",
    sasl_method: client.user === undefined ? "" : (client.mechanism ?? ""),
    sasl_username: client.user ?? "",
    sasl_sender: "",
    // Names in a certificate that no authority of ours vouches for are not told.
    ccert_subject: "",
    ccert_issuer: "",
    ccert_fingerprint: fingerprint(tls?.clientCertificate?.certificate),
    ccert_pubkey_fingerprint: fingerprint(tls?.clientCertificate?.publicKey),
    encryption_protocol: tls?.protocol ?? "",
    encryption_cipher: tls?.cipher ?? "",
    encryption_keysize: String(tls?.bits ?? 0),
    policy_context: "",
  };
}

async function ask(service: PolicyService, client: ClientFacts, about: Particulars): Promise<Verdict> {
  const { delegate } = client;
  if (delegate === undefined) return pass;
  return await delegate(service, { ...(await attributesOf(client, about)), policy_context: service.context });
}

/** SMTPD_POLICY_README: with one recipient it is named, with several they are only counted. */
const ofMessage = (recipients: readonly string[]): Pick<Particulars, "recipient" | "recipients"> => ({
  recipient: recipients.length === 1 ? recipients[0] : undefined,
  recipients: recipients.length,
});

/** What is known tells which command it is. */
function particularsOf({ client, sender, rcpt, data, domain }: RestrictionFacts): Particulars {
  if (domain !== undefined) return { state: "ETRN", etrnDomain: domain };
  if (rcpt !== undefined) return { state: "RCPT", sender, recipient: rcpt.recipient.address, size: rcpt.declaredSize };
  if (data !== undefined) return { state: "DATA", sender, size: data.declaredSize, ...ofMessage(data.recipients) };
  if (sender !== undefined) return { state: "MAIL", sender };
  if (client.helo === undefined) return { state: "CONNECT" };
  return { state: client.helo.extended ? "EHLO" : "HELO" };
}

const named = <F extends { readonly client: ClientFacts }>(
  service: PolicyService,
  about: (facts: F) => Particulars,
): NamedCheck<F> => ({
  name: `policyService ${service.name}`,
  check: (facts) => {
    const particulars = about(facts);
    const isExempt =
      service.clients === "Untrusted" && mayRelay(facts.client, particulars.sender ?? "", particulars.recipient ?? "");
    return isExempt ? pass : ask(service, facts.client, particulars);
  },
});

const servicesOf = (client: ClientFacts, stage: PolicyStage, clients?: PolicyService["clients"]): PolicyService[] =>
  client.config.server.policyServices.filter(
    (service) => service.stage === stage && (clients === undefined || service.clients === clients),
  );

/** The list of a stage with the services that belong to it. */
export function withPolicyServices(
  stage: PolicyStage,
  checks: readonly NamedCheck<RestrictionFacts>[],
  { client }: RestrictionFacts,
): readonly NamedCheck<RestrictionFacts>[] {
  if (client.config.server.policyServices.length === 0) return checks;
  const of = (clients: PolicyService["clients"]): NamedCheck<RestrictionFacts>[] =>
    servicesOf(client, stage, clients).map((service) => named(service, particularsOf));
  return [...of("All"), ...checks, ...of("Untrusted")];
}

/** CheckPolicyService in a list, or in an access rule: for whoever comes that far in the list. */
export const policyServiceCalled =
  (name: string): AskingCheck<RestrictionFacts> =>
  (facts) => {
    const service = facts.client.config.server.policyServices.find((each) => each.name === name);
    // The operator has said so; guessing that the service would have let everybody in is not ours.
    if (service === undefined) return defer("policy-service-failed", replies.policyServiceFailed);
    return ask(service, facts.client, particularsOf(facts));
  };

const ofRcpt = ({ sender, recipient, declaredSize }: RcptFacts): Particulars => ({
  state: "RCPT",
  sender,
  recipient: recipient.address,
  size: declaredSize,
});

export const recipientServicesForAll: CheckList<RcptFacts> = {
  name: "delegated, all",
  checks: ({ client }) => servicesOf(client, "Recipient", "All").map((service) => named(service, ofRcpt)),
};

export const recipientServices: CheckList<RcptFacts> = {
  name: "delegated",
  checks: ({ client }) => {
    const services = servicesOf(client, "Recipient", "Untrusted").map((service) => named(service, ofRcpt));
    if (services.length === 0) return [];
    return [
      { name: "clientIsOurs", check: clientIsOurs },
      { name: "permittedByAccessRule", check: permittedByAccessRule },
      ...services,
    ];
  },
};

export const endServices: CheckList<EndFacts> = {
  name: "delegated",
  checks: ({ client }) =>
    servicesOf(client, "EndOfMessage").map((service) =>
      named(service, ({ sender, recipients, id, instance, size }: EndFacts) => ({
        ...ofMessage(recipients),
        state: "END-OF-MESSAGE",
        sender,
        queueId: id,
        instance,
        size,
      })),
    ),
};
