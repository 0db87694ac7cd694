/** RCPT by itself: one after the other over one connection, for addresses that exist and that do not, on both sides. */
import { Client } from "./client.ts";
import { quantile, type SideBySide } from "./report.ts";
import type { Side } from "./sides.ts";

interface Timed {
  readonly p50: number;
  readonly p99: number;
}

/** Milliseconds a RCPT, one at a time. */
async function timeRcpt(side: Side, count: number, code: string, recipient: (at: number) => string): Promise<Timed> {
  const times: number[] = [];
  for (let at = 0; at < count; ) {
    // Few in a transaction, and few mistakes in a session: neither side slows down a client like that.
    using client = await Client.open(side.port);
    await client.command("MAIL FROM:<sender@elsewhere.example>", "250");
    for (const end = Math.min(count, at + (code === "250" ? 50 : 5)); at < end; at++) {
      const startMs = performance.now();
      await client.command(`RCPT TO:<${recipient(at)}>`, code);
      times.push(performance.now() - startMs);
    }
    await client.command("QUIT", "221");
  }
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
}

/** What is asked, the code of its replies, how often, and who is asked for. */
type Rcpts = readonly [what: string, code: string, count: number, recipient: (at: number) => string];

export async function rcptRows(row: SideBySide["row"], sides: readonly Side[], asked: readonly Rcpts[]): Promise<void> {
  for (const [what, code, count, recipient] of asked) {
    const timed: Timed[] = [];
    for (const side of sides) timed.push(await timeRcpt(side, count, code, recipient));
    row(
      `${what}, ms, median`,
      timed.map(({ p50 }) => p50),
    );
    row(
      `${what}, ms, 99th of a hundred`,
      timed.map(({ p99 }) => p99),
    );
  }
}
