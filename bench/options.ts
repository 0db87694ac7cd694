/** The command line of the benchmarks, one for all. */
import { parseArgs } from "node:util";

export interface BenchOptions {
  readonly names: readonly string[];
  /** Undefined: each benchmark's own. */
  readonly rounds: number | undefined;
  /** Messages and seconds times this. */
  readonly scale: number;
  readonly check: boolean;
  /** depth: in our queue. */
  readonly messages: number;
  /** depth: in Postfix's. */
  readonly postfixMessages: number;
  /** depth: drop the kernel's page cache before each restart. */
  readonly cold: boolean;
  /** idle. */
  readonly connections: number;
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new Error(`--${name} needs a number above 0, not ${text}`);
  return value;
}

export function parseBenchOptions(argv: readonly string[]): BenchOptions {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      rounds: { type: "string" },
      scale: { type: "string", default: "1" },
      check: { type: "boolean", default: false },
      messages: { type: "string", default: "1000000" },
      "postfix-messages": { type: "string", default: "1000000" },
      cold: { type: "boolean", default: false },
      connections: { type: "string", default: "10000" },
    },
  });
  const whole = (name: string, text: string): number => Math.max(1, Math.round(positive(name, text)));
  return {
    names: positionals,
    rounds: values.rounds === undefined ? undefined : whole("rounds", values.rounds),
    scale: positive("scale", values.scale),
    check: values.check,
    messages: whole("messages", values.messages),
    postfixMessages: whole("postfix-messages", values["postfix-messages"]),
    cold: values.cold,
    connections: whole("connections", values.connections),
  };
}
