/**
 * The kick: an annotation on a pod makes its kubelet look at the pod's volumes now, instead of within two minutes.
 *
 * Only a pod that does not run the wanted set is kicked, so a world at rest is never written to. The kubelet may hear of the annotation before it hears of the
 * changed ConfigMaps, and then finds nothing new: hence again after a growing pause, with a counter in the value so that it is a change.
 */
export const KICK_ANNOTATION = "mail.packetboat.io/config-kick";

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 30_000;

interface Kicked {
  readonly hash: string;
  readonly times: number;
  readonly atMs: number;
}

export class Kicks {
  readonly #kicked = new Map<string, Kicked>();

  /** The annotation to set on this pod now, or undefined: it runs the set, or was kicked a moment ago. `key` is the pod's uid. */
  wanted(key: string, runs: string | undefined, hash: string, nowMs: number): string | undefined {
    if (runs === hash) {
      this.#kicked.delete(key);
      return undefined;
    }
    const last = this.#kicked.get(key);
    if (last?.hash !== hash) {
      this.#kicked.set(key, { hash, times: 1, atMs: nowMs });
      return `${hash.slice(0, 16)}.1`;
    }
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (last.times - 1));
    if (nowMs - last.atMs < pauseMs) return undefined;
    this.#kicked.set(key, { hash, times: last.times + 1, atMs: nowMs });
    return `${hash.slice(0, 16)}.${last.times + 1}`;
  }

  /** Forget pods that are gone. */
  keepOnly(keys: ReadonlySet<string>): void {
    for (const key of this.#kicked.keys()) if (!keys.has(key)) this.#kicked.delete(key);
  }
}
