/**
 * Pipelining: has the client sent something behind a command whose answer it had to wait for?
 *
 * Noted for each command as it comes, before the checks are asked (RejectUnauthPipelining), and kept until the connection ends or begins anew with TLS. A client that said
 * EHLO may send ahead, except behind the commands that must be the last of a group; one that said HELO, or nothing yet, may never. Behind BDAT come its octets.
 * RFC 2920 §3.1, RFC 3030 §4.2; the cases are Postfix's reject_unauth_pipelining.
 */
import type { ClientFacts } from "../policy/facts.ts";

const lastOfGroup: ReadonlySet<string> = new Set(["HELO", "EHLO", "DATA", "NOOP", "VRFY"]);

export function notePipelining(client: ClientFacts, verb: string, hasMore: boolean): void {
  if (hasMore && verb !== "BDAT" && (lastOfGroup.has(verb) || client.helo?.extended !== true))
    client.pipelinedTooEarly = true;
}
