/**
 * Session rules: what must have happened before MAIL.
 * Stage mail · pure · RFC 5321 §4.1.4 (HELO first), RFC 3207 §4 (530), RFC 4954 §6 (530), RFC 6409 §4.3 (submission)
 */
import { mayLogIn } from "../../auth/login-name.ts";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { MailFacts } from "../facts.ts";
import { defer, pass, reject } from "../verdict.ts";

export const heloMissing: Check<MailFacts> = ({ client }) =>
  client.helo === undefined ? reject("bad-sequence", replies.heloFirst) : pass;

export const tlsMissing: Check<MailFacts> = ({ client }) =>
  client.listener.tls.required && client.tls === undefined ? reject("tls-required", replies.startTlsFirst) : pass;

export const clientCertificateMissing: Check<MailFacts> = ({ client }) =>
  client.listener.tls.clientCertificates === "Require" && client.tls?.clientCertificate === undefined
    ? reject(
        "client-certificate-required",
        client.tls === undefined ? replies.startTlsFirst : replies.clientCertificateRequired,
      )
    : pass;

export const authenticationMissing: Check<MailFacts> = ({ client }) => {
  if (client.listener.role !== "Submission" || client.user !== undefined) return pass;
  return reject(
    "authentication-required",
    client.tls === undefined ? replies.startTlsFirst : replies.authenticationRequired,
  );
};

/** A user who was suspended or removed while connected sends no more. */
export const userIsGone: Check<MailFacts> = ({ client }) => {
  if (client.user === undefined) return pass;
  return mayLogIn(client.config, client.user)
    ? pass
    : reject("authentication-required", replies.authenticationRequired);
};

export const queueTakesNothing: Check<MailFacts> = ({ queueUnavailable }) => {
  if (queueUnavailable === undefined) return pass;
  return queueUnavailable === "full"
    ? defer("queue-full", replies.queueFull)
    : defer("queue-failed", replies.queueFailed);
};
