/**
 * Standing of a recipient that a canonical map moves: whose domain it is, the address as written says; whether it exists, what it becomes.
 *
 * Between RCPT's checks and route/standing.ts. A map never opens a relay: an address of a foreign domain stays foreign, wherever a map would send it. A
 * map into the world from a domain of ours makes it one we hand on, so that no route may hide in the local part. Trouble with the map is ours: 451, whoever asks.
 * RFC 5321 §3.6.2.
 */
import type { LiveConfig } from "../config/schema.ts";
import type { RecipientStanding } from "../route/resolve.ts";
import { routeReplies } from "../route/replies.ts";
import { Rewriting } from "./rewriting.ts";

type Answer = RecipientStanding | Promise<RecipientStanding>;

export function standingOfRewritten(
  config: LiveConfig,
  address: string,
  ask: (address: string) => RecipientStanding,
): RecipientStanding;
export function standingOfRewritten(config: LiveConfig, address: string, ask: (address: string) => Answer): Answer;
export function standingOfRewritten(config: LiveConfig, address: string, ask: (address: string) => Answer): Answer {
  const rewriting = Rewriting.of(config);
  const written = ask(address);
  if (!rewriting.touches("EnvelopeRecipient")) return written;
  const becomes = rewriting.wayIn(address, "EnvelopeRecipient");
  const combine = (asWritten: RecipientStanding): Answer => {
    if (asWritten.kind === "remote" || (asWritten.kind === "refused" && asWritten.reason === "not-an-address"))
      return asWritten;
    if (becomes.kind === "trouble") return { kind: "refused", reply: routeReplies.rewriting, reason: "internal" };
    if (becomes.address === address) return asWritten;
    const then = (standing: RecipientStanding): RecipientStanding =>
      standing.kind === "remote" ? { kind: "local", domainClass: "Relay" } : standing;
    const moved = ask(becomes.address);
    return moved instanceof Promise ? moved.then(then) : then(moved);
  };
  return written instanceof Promise ? written.then(combine) : combine(written);
}

/** The same question, with rewriting before it: at once where the answer is there at once. */
export const afterRewriting = <A extends (config: LiveConfig, address: string) => Answer>(ask: A): A =>
  ((config: LiveConfig, address: string) => standingOfRewritten(config, address, (each) => ask(config, each))) as A;

/** Whom to ask for behind an address: a probe takes the way that mail would take. */
export function movedRecipient(config: LiveConfig, address: string): string {
  const becomes = Rewriting.of(config).wayIn(address, "EnvelopeRecipient");
  return becomes.kind === "address" ? becomes.address : address;
}
