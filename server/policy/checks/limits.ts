/**
 * Limits: how many connections the server and one client may hold, and how many connections, messages and recipients one client may send in a time.
 * Stages connect (421: RFC 5321 §3.8), mail and rcpt (450, as Postfix's) · the places and counts are the session's and SharedState's
 *
 * The session takes the places beforehand and gives them back at its end. A counter that cannot be asked lets the client go on.
 */
import { replies } from "../../session/replies.ts";
import type { Reply } from "../../reply.ts";
import type { Check } from "../chain.ts";
import type { ClientFacts, MailFacts, RcptFacts } from "../facts.ts";
import { defer, pass, type Verdict } from "../verdict.ts";

export interface ConnectFacts {
  /** Whether there was a place for it. */
  readonly hasPlace: { readonly server: boolean; readonly client: boolean };
  /** It has connected too often. */
  readonly tooOften: boolean;
}

export const tooManyConnections: Check<ConnectFacts> = ({ hasPlace }) =>
  hasPlace.server ? pass : defer("too-many-connections", replies.tooManyConnections);

export const tooManyConnectionsOfClient: Check<ConnectFacts> = ({ hasPlace }) =>
  hasPlace.client ? pass : defer("too-many-client-connections", replies.tooManyClientConnections);

export const tooManyNewConnections: Check<ConnectFacts> = ({ tooOften }) =>
  tooOften ? defer("client-rate", replies.tooManyNewConnections) : pass;

function rated(client: ClientFacts, name: "messages" | "recipients", reply: Reply): Verdict | Promise<Verdict> {
  const verdict = (exceeds: boolean): Verdict => (exceeds ? defer("client-rate", reply) : pass);
  const exceeds = client.exceeds(name);
  return exceeds instanceof Promise ? exceeds.then(verdict) : verdict(exceeds);
}

export const tooMuchMail: Check<MailFacts> = ({ client }) => rated(client, "messages", replies.tooMuchMail);

export const tooManyRecipientsOfClient: Check<RcptFacts> = ({ client }) =>
  rated(client, "recipients", replies.tooManyRecipientsOfClient);
