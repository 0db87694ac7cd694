/**
 * Commands: the table of verbs. A verb is a row; adding one is adding a row and, where it does more than answer, a file.
 *
 * Rows hold the short handlers themselves; MAIL and RCPT are in transaction.ts, DATA and BDAT in message.ts, AUTH in authenticate.ts,
 * ETRN in etrn.ts, XCLIENT and XFORWARD in xclient.ts. RFC 5321 §4.1.1.
 */
import { type Decision, decide } from "../policy/chain.ts";
import { stagesOf } from "../policy/reinject.ts";
import { replies } from "./replies.ts";
import { authenticate, authenticationKeyword } from "./authenticate.ts";
import { etrn } from "./etrn.ts";
import type { Answer, Session } from "./session.ts";
import { bdat, data } from "./message.ts";
import { mail, rcpt } from "./transaction.ts";
import { proxyKeywords, xclient, xforward } from "./xclient.ts";

export interface CommandRow {
  readonly verb: string;
  readonly rfc: string;
  /** Open on a submission listener before AUTH. */
  readonly beforeAuthentication: boolean;
  /** What a client may say now and then; said again and again it is a mistake (limits.junkCommands). */
  readonly junk?: boolean;
  readonly run: (session: Session, argument: string) => Answer | Promise<Answer>;
}

/** The argument ends up in logs and the Received field: one word, bounded (RFC 5321 §4.5.3.1.2: 255 octets). */
const heloArgument = /^[^\s]{1,255}$/;

function hello(session: Session, argument: string, extended: boolean): Answer | Promise<Answer> {
  if (!heloArgument.test(argument)) return session.refusal("helo", "bad-command", replies.heloSyntax);
  session.client.helo = { name: argument, extended };
  session.forgetTransaction();
  const welcome = (decision: Decision): Answer => {
    if (decision.kind === "pass" || decision.kind === "discard") return greeting(session, extended);
    session.client.helo = undefined;
    return session.refusal("helo", decision.reason, decision.reply);
  };
  const decision = decide(stagesOf(session.client.listener).helo, session.client);
  return decision instanceof Promise ? decision.then(welcome) : welcome(decision);
}

function greeting(session: Session, extended: boolean): Answer {
  const { server } = session.client.config;
  return extended ? replies.extensions(server.hostname, extensions(session)) : replies.hello(server.hostname);
}

function offersTls(session: Session): boolean {
  return (
    session.client.tls === undefined && session.client.listener.tls.mode === "StartTLS" && session.ports.tls.isAvailable
  );
}

function extensions(session: Session): readonly string[] {
  const { messageSizeBytes } = session.client.config.server.limits;
  const waitsForEach = session.client.screening?.hidesPipelining ?? false;
  return [
    ...(waitsForEach ? [] : ["PIPELINING"]), // RFC 2920
    `SIZE ${messageSizeBytes}`, // RFC 1870 §3: 0 is no fixed limit
    ...(offersTls(session) ? ["STARTTLS"] : []),
    ...authenticationKeyword(session),
    "ENHANCEDSTATUSCODES",
    "8BITMIME",
    ...(waitsForEach ? [] : ["CHUNKING"]), // RFC 3030, without BINARYMIME: the next hop may only take lines
    "DSN",
    "SMTPUTF8",
    ...(session.client.listener.etrn === true ? ["ETRN"] : []), // RFC 1985
    ...proxyKeywords(session),
  ];
}

async function startTls(session: Session, argument: string): Promise<Answer> {
  if (argument !== "") return replies.noArgument("STARTTLS");
  if (session.client.tls !== undefined) return replies.tlsActive;
  if (session.client.listener.tls.mode !== "StartTLS") return replies.tlsNotOffered;
  if (!session.ports.tls.isAvailable) return replies.tlsUnavailable;
  if (await session.client.exceeds("tlsSessions"))
    return session.refusal("helo", "client-rate", replies.tooManyTlsSessions);
  session.wire.startTls();
  return replies.readyForTls;
}

function reset(session: Session, argument: string): Answer {
  if (argument !== "") return replies.noArgument("RSET");
  session.forgetTransaction();
  return replies.ok;
}

const rows: readonly CommandRow[] = [
  {
    verb: "EHLO",
    rfc: "RFC 5321 §4.1.1.1",
    junk: true,
    beforeAuthentication: true,
    run: (session, argument) => hello(session, argument, true),
  },
  {
    verb: "HELO",
    rfc: "RFC 5321 §4.1.1.1",
    junk: true,
    beforeAuthentication: true,
    run: (session, argument) => hello(session, argument, false),
  },
  { verb: "STARTTLS", rfc: "RFC 3207 §4", beforeAuthentication: true, run: startTls },
  { verb: "AUTH", rfc: "RFC 4954 §4", beforeAuthentication: true, run: authenticate },
  { verb: "MAIL", rfc: "RFC 5321 §4.1.1.2", beforeAuthentication: false, run: mail },
  { verb: "RCPT", rfc: "RFC 5321 §4.1.1.3", beforeAuthentication: false, run: rcpt },
  { verb: "DATA", rfc: "RFC 5321 §4.1.1.4", beforeAuthentication: false, run: data },
  // Before AUTH too, to be refused by itself: its octets must be read before anything else is a command.
  { verb: "BDAT", rfc: "RFC 3030 §2", beforeAuthentication: true, run: bdat },
  { verb: "RSET", rfc: "RFC 5321 §4.1.1.5", beforeAuthentication: true, junk: true, run: reset },
  { verb: "ETRN", rfc: "RFC 1985", beforeAuthentication: false, junk: true, run: etrn },
  { verb: "XCLIENT", rfc: "Postfix XCLIENT_README", beforeAuthentication: true, run: xclient },
  { verb: "XFORWARD", rfc: "Postfix XFORWARD_README", beforeAuthentication: true, run: xforward },
  {
    verb: "VRFY",
    rfc: "RFC 5321 §3.5.3, §7.3",
    beforeAuthentication: false,
    junk: true,
    run: (_session, argument) => (argument === "" ? replies.verifySyntax : replies.cannotVerify),
  },
  { verb: "EXPN", rfc: "RFC 5321 §3.5.3", beforeAuthentication: false, run: () => replies.noExpansion },
  { verb: "HELP", rfc: "RFC 5321 §4.1.1.8", beforeAuthentication: false, run: () => replies.help },
  { verb: "NOOP", rfc: "RFC 5321 §4.1.1.9", beforeAuthentication: true, junk: true, run: () => replies.ok },
  { verb: "QUIT", rfc: "RFC 5321 §4.1.1.10", beforeAuthentication: true, run: () => replies.bye },
];

export const commands: ReadonlyMap<string, CommandRow> = new Map(rows.map((row) => [row.verb, row]));
