/**
 * Notice that files of a folder changed: the embedded default's stand-in for a watch on the API server.
 *
 * Stands in local/, before manifests.ts. Promises a call within half a second of a change, and no call without one; many changes at once are one call.
 * The kernel's events make it fast, looking every half second makes it sure (network file systems, symlinks whose target changes, no watches left).
 */
import { type FSWatcher, watch } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as setTimeoutPromise } from "node:timers/promises";

export interface FolderWatch {
  stop(): void;
}

export interface WatchTimes {
  readonly debounceMs: number;
  readonly pollMs: number;
}

/** Which files, and what tells one state of them from another; a folder that is gone is a state too. */
async function stateOf(folder: string, isOurs: (name: string) => boolean): Promise<string> {
  try {
    const names = (await readdir(folder)).filter(isOurs).sort();
    const states = await Promise.all(
      names.map(async (name) => {
        try {
          const facts = await stat(join(folder, name), { bigint: true });
          return `${name}\0${facts.dev}\0${facts.ino}\0${facts.size}\0${facts.mtimeNs}\0${facts.ctimeNs}`;
        } catch (cause) {
          return `${name}\0${(cause as NodeJS.ErrnoException).code ?? "unreadable"}`;
        }
      }),
    );
    return states.join("\n");
  } catch (cause) {
    return `\0${(cause as NodeJS.ErrnoException).code ?? "unreadable"}`;
  }
}

/** Calls `changed` after every change of the files that `isOurs` names, until `stop`. The state at the time of the call is the first one. */
export async function watchFolder(
  folder: string,
  isOurs: (name: string) => boolean,
  changed: () => void,
  times: WatchTimes = { debounceMs: 50, pollMs: 400 },
): Promise<FolderWatch> {
  let known = await stateOf(folder, isOurs);
  let looking = false;
  let lookAgain = false;
  let stopped = false;
  let debounce: NodeJS.Timeout | undefined;
  let events: FSWatcher | undefined;

  const look = async (): Promise<void> => {
    if (looking) {
      lookAgain = true;
      return;
    }
    looking = true;
    do {
      lookAgain = false;
      let state = await stateOf(folder, isOurs);
      if (state === known) continue;
      // Half a file can be a valid manifest with mailboxes missing: wait until it stands still.
      for (let before = ""; before !== state && !stopped; ) {
        before = state;
        await setTimeoutPromise(times.debounceMs);
        state = await stateOf(folder, isOurs);
      }
      if (state !== known && !stopped) {
        known = state;
        changed();
      }
    } while (lookAgain && !stopped);
    looking = false;
  };
  const soon = (): void => {
    clearTimeout(debounce);
    debounce = setTimeout(() => void look(), times.debounceMs);
  };

  try {
    events = watch(folder, soon);
    // The kernel may take the watch back (folder removed); looking goes on.
    events.on("error", () => events?.close());
  } catch {
    // No watches left, or not a local file system: looking is enough.
  }
  const poll = setInterval(() => void look(), times.pollMs);

  return {
    stop: () => {
      stopped = true;
      clearTimeout(debounce);
      clearInterval(poll);
      events?.close();
    },
  };
}
