/**
 * The request of the policy delegation protocol: what a policy daemon is told, as octets.
 *
 * Stands between the facts of a session and the wire to the daemon (service.ts). Every attribute that Postfix 3.8 sends is sent, also where we know nothing (empty), because
 * daemons tell versions apart by what they see. A value never holds a line end or a NUL, whatever a stranger said: it is one line, or it is changed into one.
 * SMTPD_POLICY_README.
 */

/** The command a daemon is asked about. */
export type ProtocolState = "CONNECT" | "EHLO" | "HELO" | "MAIL" | "RCPT" | "DATA" | "END-OF-MESSAGE" | "ETRN" | "VRFY";

/** In the order in which Postfix writes them. */
export interface PolicyAttributes {
  readonly protocol_state: ProtocolState;
  readonly protocol_name: "SMTP" | "ESMTP";
  readonly client_address: string;
  /** `unknown` where there is none. */
  readonly client_name: string;
  readonly client_port: string;
  readonly reverse_client_name: string;
  readonly server_address: string;
  readonly server_port: string;
  readonly helo_name: string;
  readonly sender: string;
  readonly recipient: string;
  readonly recipient_count: string;
  readonly queue_id: string;
  /** The same for all questions about one message. */
  readonly instance: string;
  /** Octets: what the client declared, at the end of the message what came. */
  readonly size: string;
  readonly etrn_domain: string;
  readonly stress: string;
  readonly sasl_method: string;
  readonly sasl_username: string;
  readonly sasl_sender: string;
  readonly ccert_subject: string;
  readonly ccert_issuer: string;
  readonly ccert_fingerprint: string;
  readonly ccert_pubkey_fingerprint: string;
  readonly encryption_protocol: string;
  readonly encryption_cipher: string;
  readonly encryption_keysize: string;
  readonly policy_context: string;
}

/** What the answers of this server mean: Postfix's of this level (respectful logging aside). */
const COMPATIBILITY_LEVEL = "3.8";
const MAIL_VERSION = "3.8.0";
/** Of one value; a command line is bounded already, a certificate's name is not. */
const MAX_VALUE = 4096;

// oxlint-disable-next-line no-control-regex
const breaking = /[\u0000-\u001f\u007f]/g;

export const attributeValue = (text: string): string => text.slice(0, MAX_VALUE).replace(breaking, "?");

export function requestText(attributes: PolicyAttributes): string {
  const { policy_context, ...rest } = attributes;
  const lines = Object.entries({
    request: "smtpd_access_policy",
    ...rest,
    policy_context,
    compatibility_level: COMPATIBILITY_LEVEL,
    mail_version: MAIL_VERSION,
  }).map(([name, value]: [string, string]) => `${name}=${attributeValue(value)}\n`);
  return `${lines.join("")}\n`;
}
