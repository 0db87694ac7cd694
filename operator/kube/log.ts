/**
 * The operator's log: one JSON line an event on standard output, the same field names as the server's. Callers pass named fields,
 * never whole objects (a Secret is an object too), and a token never reaches a field.
 */
import { pino } from "pino";

/** What the runtime needs of a logger; any pino logger is one. */
export type Log = Pick<pino.Logger, "debug" | "info" | "warn" | "error">;

export function createLog(component: string, level: string = process.env["LOG_LEVEL"] ?? "info"): pino.Logger {
  return pino(
    {
      level,
      base: { component },
      messageKey: "event",
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: ["password", "token", "authorization", "data", "*.data", "*.token"], censor: "[redacted]" },
    },
    pino.destination({ dest: 1, sync: true }),
  );
}
