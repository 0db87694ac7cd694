/**
 * Greylist: which clients' networks have written from whom to whom before, and which have shown that they try again.
 *
 * Behind the check of the same name. A triplet is new, waits for `delay`, may pass until `retryWindow` after its first try, and is known for `expire` from its last use on.
 * Kept in the shared state under hashes: keys of one length, and nobody's addresses in memory. What is lost there is asked to wait again; while it does
 * not answer, everybody passes. RFC 6647 §2, §4.
 */
import { createHash } from "node:crypto";
import ipaddr from "ipaddr.js";
import { addressKey } from "../config/address.ts";
import type { GreylistingSettings } from "../config/postscreen.ts";
import type { Log } from "../observe/log.ts";
import { greylisted } from "../observe/metrics.ts";
import { plainAddress } from "../policy/networks.ts";
import type { SharedState } from "../session/shared-state.ts";

/** The network of a client, whatever length the configuration gives it. */
export function networkOf(address: string, { ipv4Prefix, ipv6Prefix }: GreylistingSettings): string {
  const bare = plainAddress(address.split("%")[0] ?? "");
  if (!ipaddr.isValid(bare)) return bare;
  const parsed = ipaddr.process(bare);
  const prefix = parsed.kind() === "ipv4" ? ipv4Prefix : ipv6Prefix;
  const bytes = parsed
    .toByteArray()
    .map((byte, place) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - place * 8))) & 0xff);
  return `${ipaddr.fromByteArray(bytes).toString()}/${prefix}`;
}

/** Lists write each message under an address of its own (VERP): extensions go, numbers become one. */
export function senderOf(sender: string): string {
  const key = addressKey(sender) ?? sender.toLowerCase();
  const at = key.lastIndexOf("@");
  if (at < 0) return key;
  return `${key
    .slice(0, at)
    .replace(/\+.*$/, "")
    .replaceAll(/[0-9]+/g, "#")}${key.slice(at)}`;
}

const hashOf = (...parts: readonly string[]): string =>
  createHash("sha256").update(parts.join("\0")).digest("base64url").slice(0, 22);

const KNOWN = "known";

export class Greylist {
  readonly #shared: SharedState;
  readonly #log: Log;
  readonly #now: () => number;

  constructor(shared: SharedState, log: Log, now: () => number = Date.now) {
    this.#shared = shared;
    this.#log = log;
    this.#now = now;
  }

  /** How long it must still wait; undefined: it may write now. */
  async wait(
    settings: GreylistingSettings,
    client: string,
    sender: string,
    recipient: string,
  ): Promise<number | undefined> {
    const network = networkOf(client, settings);
    const triplet = `greylist:${hashOf(network, senderOf(sender), addressKey(recipient) ?? recipient)}`;
    try {
      return await this.#ask(settings, triplet, `greylist-network:${hashOf(network)}`);
    } catch (error) {
      this.#log.error({ error: error instanceof Error ? error.message : String(error) }, "shared-state-unavailable");
      greylisted.inc({ result: "unavailable" });
      return undefined;
    }
  }

  async #ask(settings: GreylistingSettings, triplet: string, network: string): Promise<number | undefined> {
    const { delayMs, retryWindowMs, expireMs, autoAllowAfter } = settings;
    const [seen, counted] = await Promise.all([
      this.#shared.recall(triplet),
      autoAllowAfter === 0 ? undefined : this.#shared.recall(network),
    ]);
    const waited = Number(counted ?? 0);
    if (autoAllowAfter > 0 && waited >= autoAllowAfter) {
      await this.#shared.remember(network, String(waited), expireMs);
      greylisted.inc({ result: "allowed" });
      return undefined;
    }
    if (seen === KNOWN) {
      await this.#shared.remember(triplet, KNOWN, expireMs);
      greylisted.inc({ result: "known" });
      return undefined;
    }
    const nowMs = this.#now();
    if (seen === undefined) {
      await this.#shared.remember(triplet, String(nowMs), retryWindowMs);
      greylisted.inc({ result: "new" });
      return delayMs;
    }
    // A clock that was set back must not make anybody wait longer than delay.
    const leftMs = Math.min(delayMs, Number(seen) + delayMs - nowMs);
    if (leftMs > 0) {
      greylisted.inc({ result: "early" });
      return leftMs;
    }
    await this.#shared.remember(triplet, KNOWN, expireMs);
    if (autoAllowAfter > 0) await this.#shared.remember(network, String(waited + 1), expireMs);
    greylisted.inc({ result: "passed" });
    return undefined;
  }
}
