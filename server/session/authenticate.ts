/**
 * AUTH: from the command to a user of the session.
 *
 * Offered on submission listeners, over TLS only, once, outside a transaction. Unknown, disabled and suspended users get the answer of a wrong
 * password, and as late. A hash that cannot be read is our trouble: 454 and a log line. Passwords are passed on, never kept or logged.
 * RFC 4954 §4 to §6; RFC 6409 §4.3.
 */
import { beginSasl, type SaslStep } from "../auth/sasl.ts";
import { addressKey } from "../config/address.ts";
import { authentications } from "../observe/metrics.ts";
import type { ClientFacts } from "../policy/facts.ts";
import { replies } from "./replies.ts";
import type { Answer, Session } from "./session.ts";

export const offersAuthentication = (client: ClientFacts): boolean =>
  client.listener.role === "Submission" && client.tls !== undefined && client.user === undefined;

const prompts = {
  empty: replies.authContinue,
  username: replies.authUsername,
  password: replies.authPassword,
} as const;

export function authenticate(session: Session, argument: string): Answer | Promise<Answer> {
  const { client } = session;
  if (client.listener.role !== "Submission") return session.refusal("auth", "bad-sequence", replies.authNotOffered);
  if (client.tls === undefined) return session.refusal("auth", "tls-required", replies.startTlsFirst);
  if (client.helo === undefined) return session.refusal("auth", "bad-sequence", replies.heloFirst);
  if (client.user !== undefined) return session.refusal("auth", "bad-sequence", replies.authRepeated);
  if (session.transaction !== undefined) return session.refusal("auth", "bad-sequence", replies.authInTransaction);
  return proceed(session, beginSasl(argument));
}

function proceed(session: Session, step: SaslStep): Answer | Promise<Answer> {
  switch (step.kind) {
    case "ask":
      session.continuation = (line) => proceed(session, step.next(line));
      return prompts[step.prompt];
    case "credentials":
      return login(session, step.username, step.password);
    case "syntax":
      return session.refusal("auth", "bad-command", replies.authSyntax);
    case "cancelled":
      return replies.authCancelled;
    case "unknown-mechanism":
      return session.refusal("auth", "bad-command", replies.authMechanism);
    default:
      return step satisfies never;
  }
}

async function login(session: Session, username: string, password: string): Promise<Answer> {
  const { config } = session.client;
  const user = addressKey(username);
  const mailbox = user === undefined ? undefined : config.addresses.get(user)?.mailbox;
  const mayLogIn = mailbox?.authentication === true && !mailbox.suspended;
  const stored = user !== undefined && mayLogIn ? config.passwords.get(user) : undefined;
  const result = await session.ports.verifier.verify(stored, password, config.passwords);
  const count = (outcome: "success" | "failure" | "unavailable"): void =>
    authentications.inc({ listener: session.listenerName, result: outcome });
  switch (result) {
    case "match":
      session.client.user = user;
      count("success");
      session.log.info({ user }, "auth");
      return replies.authSucceeded;
    case "mismatch":
      count("failure");
      session.log.info({ user: username.slice(0, 255) }, "auth-failed");
      return session.refusal("auth", "authentication-failed", replies.authFailed);
    case "unusable-hash":
      session.log.error({ user }, "auth-hash-unusable");
      count("unavailable");
      return session.refusal("auth", "authentication-unavailable", replies.authUnavailable);
    case "unavailable":
      count("unavailable");
      return session.refusal("auth", "authentication-unavailable", replies.authUnavailable);
    default:
      return result satisfies never;
  }
}
