/**
 * AUTH: from the command to a user of the session.
 *
 * Offered on submission listeners, over TLS only, once, outside a transaction. Unknown, disabled and suspended users get the answer of a wrong
 * password, and as late. What nobody can tell now, a hash that cannot be read included, is 454. Passwords are passed on, never kept or logged.
 * RFC 4954 §4 to §6; RFC 6409 §4.3.
 */
import type { Asker } from "../auth/authenticator.ts";
import { mayLogIn } from "../auth/login-name.ts";
import { beginSasl, type SaslStep } from "../auth/sasl.ts";
import { authentications } from "../observe/metrics.ts";
import { replies } from "./replies.ts";
import type { Answer, Session } from "./session.ts";

const prompts = {
  empty: replies.authContinue,
  username: replies.authUsername,
  password: replies.authPassword,
} as const;

const askerOf = ({ client, wire }: Session): Asker => ({
  config: client.config,
  client: { address: client.address, port: wire.remotePort },
  tls: client.tls,
  certificateUser: client.relayCertificate()?.authenticatesAs,
});

/** The line of EHLO, if there is one. */
export function authenticationKeyword(session: Session): readonly string[] {
  const { client, ports } = session;
  if (client.listener.role !== "Submission" || client.tls === undefined || client.user !== undefined) return [];
  const names = [...ports.authenticator.mechanisms(askerOf(session)).keys()];
  return names.length === 0 ? [] : [`AUTH ${names.join(" ")}`];
}

export async function authenticate(session: Session, argument: string): Promise<Answer> {
  const { client, ports } = session;
  if (client.listener.role !== "Submission") return session.refusal("auth", "bad-sequence", replies.authNotOffered);
  if (client.tls === undefined) return session.refusal("auth", "tls-required", replies.startTlsFirst);
  if (client.helo === undefined) return session.refusal("auth", "bad-sequence", replies.heloFirst);
  if (client.user !== undefined) return session.refusal("auth", "bad-sequence", replies.authRepeated);
  if (session.transaction !== undefined) return session.refusal("auth", "bad-sequence", replies.authInTransaction);
  if (await client.exceeds("auths")) return session.refusal("auth", "client-rate", replies.tooManyAuths);
  client.mechanism = /^[\w-]{1,20}/.exec(argument)?.[0].toUpperCase();
  const { failures } = client.config.server.authentication;
  if (!(await ports.failures.clientMayTry(failures, client.group))) return limited(session, undefined);
  return proceed(session, await beginSasl(argument, ports.authenticator.mechanisms(askerOf(session))));
}

function proceed(session: Session, step: SaslStep): Answer | Promise<Answer> {
  switch (step.kind) {
    case "ask":
      session.continuation = (line) => proceed(session, step.next(line));
      return prompts[step.prompt];
    case "challenge":
      session.continuation = async (line) => proceed(session, await step.next(line));
      return replies.authChallenge(step.data);
    case "credentials":
      return check(session, step.username, step.password);
    case "authenticated":
      return accept(session, step.user);
    case "refused":
      return refuse(session, step.username);
    case "unavailable":
      return unavailable(session, step.why);
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

const count = (session: Session, result: "success" | "failure" | "unavailable" | "limited"): void =>
  authentications.inc({ listener: session.listenerName, result });

async function check(session: Session, username: string, password: string): Promise<Answer> {
  const { client, ports } = session;
  const { failures } = client.config.server.authentication;
  if (!(await ports.failures.userMayTry(failures, client.group, username))) return limited(session, username);
  const { config, client: end } = askerOf(session);
  const result = await ports.authenticator.check({ config, username, password, client: end });
  switch (result.kind) {
    case "match":
      return admit(session, result.user, username);
    case "mismatch":
      return refuse(session, username);
    case "unavailable":
      return unavailable(session, result.why);
    default:
      return result satisfies never;
  }
}

/** A mechanism has proved who it is; whether that user may, and how many guesses there were, is looked at only now. */
async function accept(session: Session, user: string): Promise<Answer> {
  const { client, ports } = session;
  if (!mayLogIn(client.config, user)) return refuse(session, user);
  const { failures } = client.config.server.authentication;
  if (!(await ports.failures.userMayTry(failures, client.group, user))) return limited(session, user);
  return admit(session, user, user);
}

async function admit(session: Session, user: string, username: string): Promise<Answer> {
  const { client, ports } = session;
  client.user = user;
  count(session, "success");
  session.log.info({ user }, "auth");
  await ports.failures.succeeded(client.group, username);
  return replies.authSucceeded;
}

async function refuse(session: Session, username: string): Promise<Answer> {
  const { client, ports } = session;
  const { failures } = client.config.server.authentication;
  count(session, "failure");
  session.log.info({ user: username.slice(0, 255) }, "auth-failed");
  const name = username === "" ? undefined : username;
  const pauses = await ports.failures.failed(failures, client.group, name);
  if (pauses > 0 && ports.errorDelayMs > 0)
    await new Promise((resolve) => setTimeout(resolve, pauses * ports.errorDelayMs));
  return session.refusal("auth", "authentication-failed", replies.authFailed);
}

function unavailable(session: Session, why: string): Answer {
  count(session, "unavailable");
  session.log.warn({ why }, "auth-unavailable");
  return session.refusal("auth", "authentication-unavailable", replies.authUnavailable);
}

function limited(session: Session, username: string | undefined): Answer {
  count(session, "limited");
  session.log.info({ user: username?.slice(0, 255) }, "auth-limited");
  return session.refusal("auth", "authentication-limited", replies.authLimited);
}
