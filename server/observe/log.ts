/**
 * The log: one JSON line a step on standard output, `id` being the queue id wherever there is one.
 *
 * Field names follow Postfix's words where it has them (queue id, from, to, relay, delay, delays, dsn, status). Secrets never enter: callers pass
 * named fields, never whole objects of the session or the configuration, and the known names are struck out as a second fence. The lines of ten
 * milliseconds leave in one write, those before an exit or an uncaught error with it; only SIGKILL can take them away.
 */
import { type DestinationStream, pino } from "pino";

export type Log = pino.Logger;

/** A write costs more than a line. */
const GATHER_MS = 10;
const GATHER_CHARACTERS = 65_536;

/**
 * Standard output, written synchronously: pino's own worker is one thread less. Gathered here and not in pino's stream, whose flush also waits for the disk:
 * a log in a file would hold up the mail.
 */
class Lines implements DestinationStream {
  readonly #out = pino.destination({ dest: 1, sync: true, maxWrite: 262_144 });
  #gathered = "";
  #isScheduled = false;

  constructor() {
    process.on("exit", () => this.flushSync());
  }

  write(line: string): void {
    this.#gathered += line;
    if (this.#gathered.length >= GATHER_CHARACTERS) return this.flushSync();
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setTimeout(() => {
      this.#isScheduled = false;
      this.flushSync();
    }, GATHER_MS);
  }

  /** pino asks for it after a fatal line. */
  flushSync(): void {
    const lines = this.#gathered;
    this.#gathered = "";
    try {
      if (lines !== "") this.#out.write(lines);
    } catch {
      // Nobody reads any more; mail goes on.
    }
  }
}

let second = Number.NaN;
let upToSecond = "";

/** `,"time":"2026-11-21T19:05:32.123Z"`; most of it is the same for a second. */
export function timestamp(nowMs = Date.now()): string {
  const ms = nowMs % 1000;
  if (nowMs - ms !== second) {
    second = nowMs - ms;
    upToSecond = `,"time":"${new Date(second).toISOString().slice(0, -4)}`;
  }
  return `${upToSecond}${String(ms).padStart(3, "0")}Z"`;
}

const secretNames = ["password", "privateKey", "authorization"];
type Fields = Record<string, unknown>;

/**
 * Known names of secrets struck out, in the fields themselves and one level below; the very same object where there are none. pino's own `redact` copies
 * every line for that, a tenth of all that a busy shard allocates.
 */
export function withoutSecrets(fields: Fields): Fields {
  let clean = fields;
  const replace = (name: string, value: unknown): void => {
    if (clean === fields) clean = { ...fields };
    clean[name] = value;
  };
  for (const name of secretNames) if (fields[name] !== undefined) replace(name, "[redacted]");
  for (const name in fields) {
    const value = fields[name];
    if (typeof value !== "object" || value === null) continue;
    const inner = value as Fields;
    for (const secret of secretNames) {
      if (inner[secret] === undefined) continue;
      replace(name, { ...(clean[name] as Fields), [secret]: "[redacted]" });
    }
  }
  return clean;
}

export function createLog(
  component: string,
  level: string = process.env["LOG_LEVEL"] ?? "info",
  destination: DestinationStream = new Lines(),
): Log {
  const log = pino(
    {
      level,
      base: { component },
      messageKey: "event",
      timestamp: () => timestamp(),
      formatters: { level: (label) => ({ level: label }), log: withoutSecrets },
    },
    destination,
  );
  const child: unknown = Reflect.get<object, string>(log, "child");
  // Children inherit it.
  Object.defineProperty(log, "child", {
    value: function withCleanBindings(this: Log, bindings: Fields, options?: object): unknown {
      return Reflect.apply(child as (...all: unknown[]) => unknown, this, [withoutSecrets(bindings), options]);
    },
  });
  return log;
}
