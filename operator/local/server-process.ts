/**
 * The server as a child process of the embedded default: started, kept running, stopped.
 *
 * Stands in local/, below main.ts. Promises: one child at a time; a child that ends unasked is started again after 0.5 s, doubling up to 30 s, back to
 * 0.5 s once it has run for a minute; `stop` sends SIGTERM and waits for the drain, SIGKILL only after the grace period. A child that finds its ports taken,
 * or that refuses to start at all (exit code 1 before it ever served), is not started again: that wants a person. The child's output goes line by line to `log`, never to the terminal.
 */
import { type ChildProcess, spawn } from "node:child_process";

/** The primary forwards and counts; it needs no room for garbage. (What its shards need it decides itself.) */
const SMALL_YOUNG_SPACE = "--max-semi-space-size=2";

export interface ServerCommand {
  /** The Node to run it by; the one that runs us unless a test says otherwise. */
  readonly node: string;
  readonly script: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface ServerProcessEvents {
  /** A chunk of the child's output, as it came. */
  readonly log: (chunk: Buffer) => void;
  /** A sentence for the person at the terminal. */
  readonly say: (sentence: string) => void;
  /** The child ended for good: nothing will start it again. */
  readonly gaveUp: (sentence: string) => void;
}

export interface ServerProcessTimes {
  readonly firstDelayMs: number;
  readonly longestDelayMs: number;
  readonly settledAfterMs: number;
  readonly graceMs: number;
}

export const usualTimes: ServerProcessTimes = {
  firstDelayMs: 500,
  longestDelayMs: 30_000,
  settledAfterMs: 60_000,
  graceMs: 70_000,
};

/** Kept of the child's last words, to tell the person why it ended. */
const LAST_WORDS_BYTES = 8192;

export class ServerProcess {
  readonly #command: ServerCommand;
  readonly #events: ServerProcessEvents;
  readonly #times: ServerProcessTimes;
  #child: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #delayMs: number;
  #stopping = false;
  #hasServed = false;
  #lastWords: Buffer = Buffer.alloc(0);

  constructor(command: ServerCommand, events: ServerProcessEvents, times: ServerProcessTimes = usualTimes) {
    this.#command = command;
    this.#events = events;
    this.#times = times;
    this.#delayMs = times.firstDelayMs;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** It took mail once: from now on an end is a crash, before it was a refusal to start. */
  served(): void {
    this.#hasServed = true;
  }

  start(): void {
    const startedAtMs = Date.now();
    this.#lastWords = Buffer.alloc(0);
    // Same process group, so that whoever ends the group ends the server too; the channel lets the server notice when only we were killed.
    const child = spawn(this.#command.node, [SMALL_YOUNG_SPACE, this.#command.script, ...this.#command.args], {
      env: this.#command.env,
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    this.#child = child;
    const hear = (chunk: Buffer): void => {
      this.#lastWords = Buffer.concat([this.#lastWords, chunk]).subarray(-LAST_WORDS_BYTES);
      this.#events.log(chunk);
    };
    child.stdout?.on("data", hear);
    child.stderr?.on("data", hear);
    let ended = false;
    const end = (how: string, code: number | null): void => {
      if (ended) return;
      ended = true;
      this.#child = undefined;
      if (!this.#stopping) this.#afterEnd(how, code, Date.now() - startedAtMs);
    };
    child.once("error", (cause) => end(`could not be started (${cause.message})`, null));
    child.once("close", (code, signal) =>
      end(signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`, code),
    );
  }

  #afterEnd(how: string, code: number | null, ranMs: number): void {
    const words = this.#lastWords.toString("utf8");
    if (words.includes("EADDRINUSE")) {
      this.#events.gaveUp(
        "A port that the server needs was taken by another program. Stop that program, or choose other ports with --offset N.",
      );
      return;
    }
    if (code === 1 && !this.#hasServed) {
      this.#events.gaveUp(`The server cannot start: ${reasonIn(lastLineOf(words))}`);
      return;
    }
    if (ranMs >= this.#times.settledAfterMs) this.#delayMs = this.#times.firstDelayMs;
    this.#events.say(
      `The server ${how}; it is started again in ${this.#delayMs / 1000} s. Its last line: ${reasonIn(lastLineOf(words))}`,
    );
    this.#restart = setTimeout(() => this.start(), this.#delayMs);
    this.#delayMs = Math.min(this.#delayMs * 2, this.#times.longestDelayMs);
  }

  /** Resolves when the child is gone; at once when there is none. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
    child.kill("SIGTERM");
    const kill = setTimeout(() => {
      this.#events.say(
        `The server did not end within ${this.#times.graceMs / 1000} s and is killed; nothing it had accepted is lost.`,
      );
      child.kill("SIGKILL");
    }, this.#times.graceMs);
    await gone;
    clearTimeout(kill);
  }

  /** For a second Ctrl-C, and as the last resort when we ourselves end. */
  kill(): void {
    this.#stopping = true;
    this.#child?.kill("SIGKILL");
  }
}

function lastLineOf(words: string): string {
  const lines = words.split("\n").filter((line) => line.trim() !== "");
  // Where Node ended on an exception, the line that names it says more than the version that comes last.
  const telling =
    lines.findLast((line) => line.startsWith("{")) ??
    lines.findLast((line) => /^(?:\w*Error\b|.*\[ERR_)/.test(line)) ??
    lines.at(-1);
  return telling?.slice(0, 500) ?? "(it said nothing)";
}

/** The sentence in a JSON log line, or the line as it is. */
function reasonIn(line: string): string {
  try {
    const { event, reason } = JSON.parse(line) as { readonly event?: unknown; readonly reason?: unknown };
    if (typeof reason === "string") return reason;
    if (typeof event === "string") return event;
  } catch {
    // Not a log line: a stack trace, or what Node says of itself.
  }
  return line;
}
