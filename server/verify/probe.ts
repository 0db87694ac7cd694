/**
 * A probe: asks the server that would get mail for an address whether it would take it, up to RCPT and no further.
 *
 * Between the verifier and deliver/: it goes where a message to the address would go, over the same kept sessions, with the same TLS and source addresses, and aliases are
 * followed as for a message. Gentle: few probes at one destination at once, and none for some time at one that does not answer. What nobody can tell is
 * `down`, never "does not exist": a refusal of our sender says nothing of the recipient. Bounded in time; never throws. postconf(5) reject_unverified_recipient.
 */
import type { LiveConfig } from "../config/schema.ts";
import type { Deliver, DeliveryOutcome } from "../deliver/deliver.ts";
import type { QueuedRecipient } from "../queue/queue.ts";
import { isPermanent, type Reply, replyLine } from "../reply.ts";
import type { Resolution, Transport } from "../route/resolve.ts";
import type { Result } from "./results.ts";
import { Turns } from "./turns.ts";

export interface Probing {
  readonly config: () => LiveConfig;
  /** Where it leads, as the scheduler asks. */
  readonly resolve: (
    config: LiveConfig,
    address: string,
    options: { readonly sender: string; readonly expanded: boolean },
  ) => Resolution | Promise<Resolution>;
  readonly deliver: Deliver;
  readonly now: () => number;
}

export type Answer = Pick<Result, "kind" | "said">;

/** At one destination: at once, and waiting for it. A server that is slow, or strangers who guess, must not keep others from being verified. */
const AT_ONCE = 2;
const MOST_WAITING = 50;
const MAX_MS = 60_000;
/** How long a destination that did not answer is left alone. */
const LEFT_ALONE_MS = 30_000;
const MAX_LEFT_ALONE = 1000;
/** Of an alias with many destinations, one that exists is enough; after so many nobody looks further. */
const MAX_DESTINATIONS = 10;

const answer = (kind: Answer["kind"], reply: Reply): Answer => ({ kind, said: replyLine(reply).slice(0, 500) });

export class Prober {
  readonly #probing: Probing;
  readonly #turns = new Turns(AT_ONCE, MOST_WAITING);
  readonly #leftAlone = new Map<string, { readonly untilMs: number; readonly answer: Answer }>();
  readonly #closing = new AbortController();

  constructor(probing: Probing) {
    this.#probing = probing;
  }

  async probe(address: string): Promise<Answer> {
    try {
      return await this.#ask(address, false);
    } catch (error) {
      return { kind: "down", said: String(error).slice(0, 500) };
    }
  }

  close(): void {
    this.#closing.abort();
  }

  async #ask(address: string, expanded: boolean): Promise<Answer> {
    const config = this.#probing.config();
    const { sender } = config.server.verification;
    const resolution = await this.#probing.resolve(config, address, { sender, expanded });
    switch (resolution.kind) {
      case "fail":
        return answer(isPermanent(resolution.reply) ? "undeliverable" : "down", resolution.reply);
      case "deliver":
        return await this.#askServer(config, address, resolution.transport);
      case "expand": {
        let last: Answer | undefined;
        for (const each of resolution.into.slice(0, MAX_DESTINATIONS)) {
          const said = expanded ? undefined : await this.#ask(each, true);
          if (said?.kind === "deliverable") return said;
          if (last?.kind !== "down") last = said;
        }
        return last ?? { kind: "down", said: "the alias leads nowhere that can be asked" };
      }
      default:
        return resolution satisfies never;
    }
  }

  async #askServer(config: LiveConfig, address: string, transport: Transport): Promise<Answer> {
    const { destination } = transport;
    const asked = await this.#turns.take(destination, async (): Promise<Answer> => {
      const left = this.#leftAlone.get(destination);
      if (left !== undefined && left.untilMs > this.#probing.now()) return left.answer;
      this.#leftAlone.delete(destination);
      const outcome = await this.#deliver(config, address, transport);
      if (outcome === undefined) return { kind: "down", said: "no answer" };
      if (outcome.kind === "delivered") return answer("deliverable", outcome.reply);
      const isAboutAddress = outcome.scope === "recipient" || outcome.scope === "destination";
      if (isPermanent(outcome.reply)) return answer(isAboutAddress ? "undeliverable" : "down", outcome.reply);
      const down = answer("down", outcome.reply);
      if (outcome.scope === "host" || outcome.scope === "destination") this.#leaveAlone(destination, down);
      return down;
    });
    return asked ?? { kind: "down", said: "too many addresses wait for this server" };
  }

  async #deliver(config: LiveConfig, address: string, transport: Transport): Promise<DeliveryOutcome | undefined> {
    const recipient: QueuedRecipient = {
      number: 0,
      address,
      expanded: true,
      state: "active",
      attempts: 1,
      dueMs: 0,
      delayWarned: false,
    };
    const { sender } = config.server.verification;
    const report = await this.#probing.deliver({
      probe: true,
      message: {
        id: "probe",
        receivedMs: this.#probing.now(),
        size: 0,
        envelope: { sender, smtpUtf8: false, body: "7BIT", requireTls: false },
        origin: { listener: "verify", clientAddress: "", clientName: "", helo: "", protocol: "ESMTP" },
        recipients: [recipient],
      },
      recipients: [recipient],
      transport,
      content: nothing,
      config,
      signal: AbortSignal.any([this.#closing.signal, AbortSignal.timeout(MAX_MS)]),
    });
    return report.outcomes[0];
  }

  #leaveAlone(destination: string, down: Answer): void {
    this.#leftAlone.delete(destination);
    this.#leftAlone.set(destination, { untilMs: this.#probing.now() + LEFT_ALONE_MS, answer: down });
    if (this.#leftAlone.size <= MAX_LEFT_ALONE) return;
    const oldest = this.#leftAlone.keys().next();
    if (oldest.done !== true) this.#leftAlone.delete(oldest.value);
  }
}

/** A probe has no content. */
async function* nothing(): AsyncGenerator<Buffer> {}
