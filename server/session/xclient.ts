/**
 * XCLIENT and XFORWARD: a trusted proxy says for whom it speaks, and where a message came from first.
 *
 * Only from peers that the listener's trustedProxies hold; anybody else gets 550 5.7.0, so that nobody talks himself into a trusted network. After XCLIENT the session
 * begins anew with the other client: its networks, name and user are judged as if it had connected, the certificate that the proxy showed is not its own, and the word is
 * given away: a second XCLIENT needs an address that is itself trusted. XFORWARD changes no decision: it is kept with the message, and logged. Postfix' XCLIENT_README, XFORWARD_README.
 */
import { loginUser } from "../auth/login-name.ts";
import type { ClientName } from "../dns/reverse.ts";
import type { ClientFacts } from "../policy/facts.ts";
import { isInNetworks } from "../policy/networks.ts";
import type { ForwardedOrigin } from "../queue/queue.ts";
import {
  type ClientAttribute,
  parseXclient,
  parseXforward,
  xclientKeyword,
  xforwardKeyword,
} from "./client-attributes.ts";
import { replies } from "./replies.ts";
import type { Answer, Session } from "./session.ts";

/** What the proxy has said so far; several commands add up, until one changes the address. */
export interface SpokenFor {
  readonly values: ReadonlyMap<ClientAttribute, string | null>;
  readonly temporary: boolean;
}

/** The address of a client that the proxy does not know; in no network. */
export const UNKNOWN_ADDRESS = "unknown";

/**
 * This client may speak for others. Judged by whom the session is with now, not by the connection: behind the first XCLIENT a proxy passes on what its client says, and
 * that client must not be able to say it again.
 */
export const isTrustedProxy = ({ client }: Pick<Session, "client">): boolean =>
  isInNetworks(client.listener.trustedProxies ?? [], client.address);

export const proxyKeywords = (session: Session): readonly string[] =>
  isTrustedProxy(session) ? [xclientKeyword, xforwardKeyword] : [];

function refused(session: Session, verb: "XCLIENT" | "XFORWARD"): Answer {
  if (!isTrustedProxy(session)) {
    session.log.warn({ verb }, "proxy-command-refused");
    return session.refusal("connect", "not-a-proxy", replies.notAProxy);
  }
  return session.transaction === undefined && session.incoming === undefined
    ? undefined
    : session.refusal("connect", "bad-sequence", replies.transactionUnderWay);
}

/** What the proxy said of the client's name; undefined: it is to be looked up. */
function namingOf({ values, temporary }: SpokenFor): ClientName | undefined {
  const name = values.get("NAME");
  if (typeof name === "string") return { kind: "named", name };
  const reverse = values.get("REVERSE_NAME");
  if (temporary) return typeof reverse === "string" ? { kind: "temporary", name: reverse } : { kind: "temporary" };
  if (typeof reverse === "string") return { kind: "unconfirmed", name: reverse };
  return name === null || reverse === null || values.get("ADDR") === null ? { kind: "none" } : undefined;
}

export function xclient(session: Session, argument: string): Answer {
  const no = refused(session, "XCLIENT");
  if (no !== undefined) return no;
  const parsed = parseXclient(argument);
  if (parsed.kind === "empty") return session.refusal("connect", "bad-command", replies.attributeSyntax("XCLIENT"));
  if (parsed.kind === "problem")
    return session.refusal("connect", "bad-parameter", replies.badAttribute("XCLIENT", parsed.name));
  const before = session.spokenFor;
  const values = new Map([...(before?.values ?? []), ...parsed.values]);
  const spokenFor: SpokenFor = {
    values,
    temporary: parsed.values.has("NAME") ? parsed.temporary : (before?.temporary ?? false),
  };
  const address = values.get("ADDR");
  const client = session.becomes(
    spokenFor,
    address === null ? UNKNOWN_ADDRESS : (address ?? session.wire.remoteAddress),
    namingOf(spokenFor),
  );
  takeOver(client, spokenFor, session);
  const { hostname } = client.config.server;
  return replies.greeting(hostname);
}

/** Hello and login as the proxy has heard them; a new hello replaces the first. */
function takeOver(client: ClientFacts, { values }: SpokenFor, session: Session): void {
  const helo = values.get("HELO");
  if (typeof helo === "string") client.helo = { name: helo, extended: values.get("PROTO") !== "SMTP" };
  const login = values.get("LOGIN");
  if (typeof login === "string") client.user = loginUser(client.config, login);
  const rest = [...values]
    .filter(([name]) => name !== "LOGIN")
    .map(([name, value]) => [name, value ?? "[UNAVAILABLE]"]);
  session.log.info({ proxy: session.wire.remoteAddress, ...Object.fromEntries(rest), user: client.user }, "xclient");
}

const forwardedNames = {
  NAME: "clientName",
  ADDR: "clientAddress",
  PORT: "clientPort",
  PROTO: "protocol",
  HELO: "helo",
  IDENT: "queueId",
  SOURCE: "source",
} as const;

export function xforward(session: Session, argument: string): Answer {
  const no = refused(session, "XFORWARD");
  if (no !== undefined) return no;
  const parsed = parseXforward(argument);
  if (parsed.kind === "empty") return session.refusal("connect", "bad-command", replies.attributeSyntax("XFORWARD"));
  if (parsed.kind === "problem")
    return session.refusal("connect", "bad-parameter", replies.badAttribute("XFORWARD", parsed.name));
  const said: ForwardedOrigin = Object.fromEntries(
    [...parsed.values].map(([name, value]) => [forwardedNames[name], value ?? "unknown"]),
  );
  session.forwarded = { ...session.forwarded, ...said };
  return replies.ok;
}

/** For the log of the message: who gave it in first, and what it was called there. */
export function forwardedFields(forwarded: ForwardedOrigin | undefined): {
  readonly origClient?: string;
  readonly origQueueId?: string;
} {
  if (forwarded === undefined) return {};
  const { clientName = "unknown", clientAddress = "unknown", queueId } = forwarded;
  return {
    origClient: `${clientName}[${clientAddress}]`,
    ...(queueId === undefined ? {} : { origQueueId: queueId }),
  };
}
