/**
 * Notes: what checks want to be read in the log (WARN of access rules, WarnIfReject, texts of HOLD and DISCARD), beside whatever was decided.
 *
 * One line a note, event `policy-note`, with what the line of a refusal would have. Texts are an administrator's own or the server's.
 */
import type { Decision } from "../policy/chain.ts";
import type { Session } from "./session.ts";

export function logNotes(
  { log, client }: Pick<Session, "log" | "client">,
  { notes }: Decision,
  about: { readonly from?: string; readonly to?: string; readonly domain?: string },
): void {
  for (const { check, level, text } of notes ?? [])
    log[level]({ ...about, helo: client.helo?.name, user: client.user, check, text }, "policy-note");
}
