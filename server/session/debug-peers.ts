/**
 * The whole dialogue of one client in the log, where `debug.peers` names it: Postfix' debug_peer_list.
 *
 * Overhears the session's wire and its commands, changes nothing. Passwords are never in it: of AUTH only the mechanism, of a SASL exchange nothing, of XCLIENT not
 * the login, and after an AUTH nothing that is no command. Of a message only that it came. Where peers are named, lines wait until the client's name is known, and
 * are thrown away when it is another's. Bounded in lines and octets.
 */
import type { Log } from "../observe/log.ts";
import type { ClientFacts } from "../policy/facts.ts";
import { isInNetworks } from "../policy/networks.ts";
import { type Reply, replyLine } from "../reply.ts";
import { SECRET, shownLine, type Verbs } from "./shown-line.ts";
import type { Overhearing } from "./transcript.ts";

const MOST_LINES = 2000;
const MOST_OF_LINE = 1000;

const isNetwork = (peer: string): boolean => peer.includes("/");

/** Lists of a configuration, split once. */
const split = new WeakMap<readonly string[], { readonly networks: string[]; readonly names: string[] }>();

function peersOf(peers: readonly string[]): {
  readonly networks: readonly string[];
  readonly names: readonly string[];
} {
  let known = split.get(peers);
  if (known === undefined) {
    known = { networks: peers.filter(isNetwork), names: peers.filter((peer) => !isNetwork(peer)) };
    split.set(peers, known);
  }
  return known;
}

export const namesPeer = (names: readonly string[], name: string): boolean =>
  names.some((peer) => (peer.startsWith(".") ? name.endsWith(peer) : name === peer));

export class DebugDialogue implements Overhearing {
  readonly #log: Log;
  readonly #verbs: Verbs;
  /** Lines that wait for the name; undefined once it is known. */
  #waiting: [direction: "in" | "out", text: string][] | undefined;
  #wanted: boolean;
  #lines = 0;
  #afterAuth = false;

  private constructor(log: Log, verbs: Verbs, wanted: boolean) {
    this.#log = log;
    this.#verbs = verbs;
    this.#wanted = wanted;
  }

  /** Undefined: nobody asked for this client. */
  static of(peers: readonly string[], client: ClientFacts, log: Log, verbs: Verbs): DebugDialogue | undefined {
    if (peers.length === 0) return undefined;
    const { networks, names } = peersOf(peers);
    if (isInNetworks(networks, client.address)) return new DebugDialogue(log, verbs, true);
    if (names.length === 0) return undefined;
    const dialogue = new DebugDialogue(log, verbs, false);
    dialogue.#waiting = [];
    void client.name().then((name) => dialogue.#decide(name !== undefined && namesPeer(names, name)));
    return dialogue;
  }

  heard(line: Buffer, secret: boolean): void {
    const text = secret ? SECRET : shownLine(line, MOST_OF_LINE, this.#afterAuth ? this.#verbs : undefined);
    if (secret || text.startsWith("AUTH")) this.#afterAuth = true;
    this.#add("in", text);
  }

  said(reply: Reply): void {
    // Challenges: with what the client answered, some of them would do for guessing its password.
    this.#add("out", reply.code === 334 ? `334 ${SECRET}` : replyLine(reply));
  }

  received(): void {
    this.#add("in", "(message)");
  }

  #decide(wanted: boolean): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    this.#wanted = wanted;
    if (wanted) for (const [direction, text] of waiting) this.#write(direction, text);
  }

  #add(direction: "in" | "out", text: string): void {
    if (this.#waiting === undefined && !this.#wanted) return;
    this.#lines += 1;
    if (this.#lines > MOST_LINES) return;
    const shown =
      this.#lines === MOST_LINES ? "(the rest of this session is left out)" : text.slice(0, MOST_OF_LINE + 1);
    if (this.#waiting === undefined) this.#write(direction, shown);
    else this.#waiting.push([direction, shown]);
  }

  #write(direction: "in" | "out", text: string): void {
    this.#log.info({ direction, text }, "debug-peer");
  }
}
