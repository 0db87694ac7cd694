/**
 * Envelope rules: size, number of recipients, addresses that need an extension.
 * Stages mail and rcpt · pure · RFC 1870 §6.1 (552 at MAIL), RFC 5321 §4.5.3.1.8 (at least 100), §4.5.3.1.10 (452 beyond), RFC 6531 §3.5
 */
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { MailFacts, RcptFacts } from "../facts.ts";
import { defer, pass, reject } from "../verdict.ts";

export const senderNeedsUtf8: Check<MailFacts> = ({ sender, mail }) =>
  sender.international && !mail.smtpUtf8 ? reject("bad-address", replies.addressNeedsUtf8) : pass;

/** 0 is no limit. */
export const declaredSizeTooLarge: Check<MailFacts> = ({ client, mail }) => {
  const limit = client.config.server.limits.messageSizeBytes;
  return mail.size !== undefined && limit > 0 && mail.size > limit
    ? reject("message-too-large", replies.messageTooLarge)
    : pass;
};

export const recipientNeedsUtf8: Check<RcptFacts> = ({ recipient, smtpUtf8 }) =>
  recipient.international && !smtpUtf8 ? reject("bad-address", replies.addressNeedsUtf8) : pass;

export const tooManyRecipients: Check<RcptFacts> = ({ client, recipients, repeated }) =>
  repeated || recipients < client.config.server.limits.recipients
    ? pass
    : defer("too-many-recipients", replies.tooManyRecipients);
