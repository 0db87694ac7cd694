/**
 * What a program costs: CPU time and memory of a process and everything below it, from /proc.
 *
 * CPU is user and system time of all that live plus what they have collected of children that ended (cutime, cstime), so that Postfix's short-lived
 * processes count: its master collects them. Work that the kernel does in threads of its own (the disk's journal) counts for nobody.
 * Memory is PSS, with one difference: pages of files that several processes map are counted once for the whole program, and not divided with strangers
 * (this benchmark and every other Node process on the machine map the same executable; in a pod nobody else does).
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

/** Clock ticks a second in /proc, the same on every Linux that Node runs on. */
const TICKS = 100;

interface Stat {
  readonly pid: number;
  readonly parent: number;
  /** Seconds, with those of collected children. */
  readonly cpu: number;
}

function statOf(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name, in parentheses, may hold anything; what follows begins with field 3.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    return { pid, parent: Number(fields[1]), cpu: ticks / TICKS };
  } catch {
    return undefined;
  }
}

/** The process and all below it that live now. */
function tree(root: number): Stat[] {
  const all = readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? (statOf(Number(name)) ?? []) : []));
  const found = all.filter(({ pid }) => pid === root);
  for (let at = 0; at < found.length; at++) found.push(...all.filter(({ parent }) => parent === found[at]?.pid));
  return found;
}

export function cpuSeconds(root: number): number {
  return tree(root).reduce((sum, { cpu }) => sum + cpu, 0);
}

const BLOCK = /^[0-9a-f]+-[0-9a-f]+ \S+ ([0-9a-f]+) (\S+) (\d+)/;

/** MiB of all of the program, see the head of this file. */
export function memoryMiB(root: number): number {
  let own = 0;
  const shared = new Map<string, number>();
  for (const { pid } of tree(root)) {
    let text: string;
    try {
      text = readFileSync(`/proc/${pid}/smaps`, "latin1");
    } catch {
      continue;
    }
    let file: string | undefined;
    let pages = { rss: 0, privates: 0 };
    const close = (): void => {
      if (file === undefined) return;
      own += pages.privates;
      shared.set(file, Math.max(shared.get(file) ?? 0, pages.rss - pages.privates));
    };
    for (const line of text.split("\n")) {
      const block = BLOCK.exec(line);
      if (block !== null) {
        close();
        file = block[3] === "0" ? undefined : `${block[2]} ${block[3]} ${block[1]}`;
        pages = { rss: 0, privates: 0 };
        continue;
      }
      const [, name, kib] = /^(Rss|Pss|Private_Clean|Private_Dirty): +(\d+) kB/.exec(line) ?? [];
      if (name === "Pss" && file === undefined) own += Number(kib);
      else if (name === "Rss") pages.rss += Number(kib);
      else if (name?.startsWith("Private") === true) pages.privates += Number(kib);
    }
    close();
  }
  return (own + [...shared.values()].reduce((sum, kib) => sum + kib, 0)) / 1024;
}

/** How many processes the program is. */
export function processCount(root: number): number {
  return tree(root).length;
}

/** As a node that loses its power would: the process and all below it at once. */
export function killAll(root: number): void {
  for (const { pid } of tree(root)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It went with its parent.
    }
  }
}

/** So that what is read next comes from the disk. */
export function dropPageCache(): void {
  execFileSync("sync");
  writeFileSync("/proc/sys/vm/drop_caches", "3");
}
