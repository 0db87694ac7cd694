/**
 * Watching the configuration folder: tells its caller of each complete, valid new set, and keeps saying why a newer one is not taken.
 *
 * Kubernetes swaps a symbolic link below the mount, the embedded mode renames files; a directory watch sees both within milliseconds and a slow
 * poll of the manifest catches what a watch can miss. Never throws, never gives up; the last good set stays with the caller.
 */
import { type FSWatcher, watch } from "node:fs";
import type { Log } from "../observe/log.ts";
import { loadConfig, ParsedFiles } from "./load.ts";
import type { LiveConfig } from "./schema.ts";

/** Why the set on disk is not the one running. */
export interface Pending {
  readonly kind: "incomplete" | "invalid";
  readonly message: string;
  readonly sinceMs: number;
}

export interface ConfigWatch {
  pending(): Pending | undefined;
  close(): void;
}

const SETTLE_MS = 15;
const RETRY_MS = 100;
const POLL_MS = 1000;
/** Two file updates of one change lie closer together than this; what stays incomplete for longer wants a person. */
const STUCK_MS = 5000;

/** `take` must resolve once every shard runs the set; the next one is not offered before. A rejection leaves the previous set current. */
export function watchConfig(
  directory: string,
  take: (config: LiveConfig) => Promise<void>,
  log: Log,
  pollMs: number = POLL_MS,
): ConfigWatch {
  const parsed = new ParsedFiles();
  let current: string | undefined;
  let pending: Pending | undefined;
  /** Since when the set is incomplete, for whatever changing reasons, and whether that was said. */
  let incomplete: { readonly sinceMs: number; said: boolean } | undefined;
  /** Something changed in the folder: look at every file, not at the manifest alone. */
  let touched = false;
  let timer: NodeJS.Timeout | undefined;
  let dueMs = 0;
  let running = false;
  let again = false;
  let closed = false;
  let watcher: FSWatcher | undefined;

  /** The sooner of two looks stays: a look that ends must not put off the one that an event asked for meanwhile. */
  const schedule = (ms: number): void => {
    const at = performance.now() + ms;
    if (closed || (timer !== undefined && dueMs <= at)) return;
    clearTimeout(timer);
    dueMs = at;
    timer = setTimeout(() => {
      timer = undefined;
      void look();
    }, ms);
  };

  const settled = (): void => {
    pending = undefined;
    incomplete = undefined;
  };
  const isStuck = (): boolean => incomplete !== undefined && Date.now() - incomplete.sinceMs >= STUCK_MS;

  const note = (kind: Pending["kind"], message: string): void => {
    if (kind === "invalid") incomplete = undefined;
    else {
      incomplete ??= { sinceMs: Date.now(), said: false };
      if (isStuck() && !incomplete.said) {
        incomplete.said = true;
        log.error(
          { reason: message, hash: current },
          "configuration refused: it stays incomplete, the last good one stays",
        );
      }
    }
    if (pending?.message === message) return;
    pending = { kind, message, sinceMs: Date.now() };
    // Incomplete is the ordinary moment between two file updates: worth a line only to somebody who looks for it.
    if (kind === "invalid")
      log.error({ reason: message, hash: current }, "configuration refused, the last good one stays");
    else log.debug({ reason: message }, "configuration incomplete");
  };

  const look = async (): Promise<void> => {
    if (running) {
      again = true;
      return;
    }
    running = true;
    const whole = touched || pending !== undefined;
    touched = false;
    const result = await loadConfig(directory, current, { whole, parsed });
    if (result.kind === "loaded") {
      try {
        await take(result.config);
        log.info({ hash: result.config.hash, previous: current }, "configuration live");
        current = result.config.hash;
        settled();
      } catch (cause) {
        note(
          "invalid",
          `the configuration could not be applied: ${cause instanceof Error ? cause.message : String(cause)}`,
        );
      }
    } else if (result.kind === "unchanged") settled();
    else note(result.kind, result.message);
    running = false;
    const waitMs = again ? 0 : result.kind === "incomplete" && !isStuck() ? RETRY_MS : pollMs;
    again = false;
    schedule(waitMs);
  };

  const open = (): void => {
    try {
      watcher = watch(directory, () => {
        touched = true;
        schedule(SETTLE_MS);
      });
      watcher.on("error", () => watcher?.close());
    } catch {
      // The folder may not exist yet; the poll finds it when it does.
    }
  };
  open();
  schedule(0);
  return {
    pending: () => pending,
    close: () => {
      closed = true;
      clearTimeout(timer);
      watcher?.close();
    },
  };
}
