/**
 * The log: one JSON line a step on standard output, `id` being the queue id wherever there is one.
 *
 * Field names follow Postfix's words where it has them (queue id, from, to, relay, delay, delays, dsn, status). Secrets never enter: callers pass
 * named fields, never whole objects of the session or the configuration, and pino redacts the known names as a second fence. The lines of ten
 * milliseconds leave in one write, those before an exit or an uncaught error with it; only SIGKILL can take them away.
 */
import { type DestinationStream, pino } from "pino";

export type Log = pino.Logger;

/** A write costs more than a line. */
const GATHER_MS = 10;

/** Standard output, written synchronously: pino's own worker is one thread less. */
class Lines implements DestinationStream {
  readonly #out = pino.destination({ dest: 1, sync: true, minLength: 65_536, maxWrite: 262_144 });
  #isScheduled = false;

  constructor() {
    process.on("exit", () => this.flushSync());
  }

  write(line: string): void {
    this.#out.write(line);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setTimeout(() => this.flushSync(), GATHER_MS);
  }

  /** pino asks for it after a fatal line. */
  flushSync(): void {
    this.#isScheduled = false;
    try {
      this.#out.flushSync();
    } catch {
      // Nobody reads any more; mail goes on.
    }
  }
}

export function createLog(component: string, level: string = process.env["LOG_LEVEL"] ?? "info"): Log {
  return pino(
    {
      level,
      base: { component },
      messageKey: "event",
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: ["password", "privateKey", "*.password", "*.privateKey", "authorization"],
        censor: "[redacted]",
      },
    },
    new Lines(),
  );
}
