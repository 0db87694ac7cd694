/**
 * The log: one JSON line a step on standard output, `id` being the queue id wherever there is one.
 *
 * Field names follow Postfix's words where it has them (queue id, from, to, relay, delay, delays, dsn, status). Secrets never enter: callers pass
 * named fields, never whole objects of the session or the configuration, and pino redacts the known names as a second fence.
 */
import { pino } from "pino";

export type Log = pino.Logger;

/** Synchronous writes: a line is out before a crash, and pino's own worker is one thread less. */
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
    pino.destination({ dest: 1, sync: true }),
  );
}
