/**
 * `npm run bench -- slow-clients`: 2,000 clients that are slow on purpose, and what others feel of them.
 *
 * A third drips a command, a third drips the content of a message, an octet each second; a third has pipelined 200 commands and reads no answer. Others connect, send
 * one message and leave, 50 a second; their time is from when they were due to connect until 250. Postfix is not measured: its default is 100 processes, one a client.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Packetboat } from "../e2e/peers/packetboat.ts";
import { SmtpSink } from "../e2e/peers/postfix.ts";
import { allowDescriptors, localAddress, others } from "./idle.ts";
import type { BenchOptions } from "./options.ts";
import { memoryMiB } from "./processes.ts";
import { quantile, type Report, shown } from "./report.ts";
import { mailServer, sideOf } from "./sides.ts";

const SLOW = 2000;
const OPENING = 100;
const SETTLING_MS = 10_000;
const OTHERS_SECONDS = 20;
const MOST_RATIO = 2;

const envelope = "EHLO slow.bench.example\r\nMAIL FROM:<slow@bench.example>\r\nRCPT TO:<other@sink.example>\r\n";
const kinds = [
  { questions: "EHLO slow.bench.example\r\nMAIL FROM:<", drips: true, reads: true },
  { questions: `${envelope}DATA\r\nSubject: `, drips: true, reads: true },
  {
    questions: "EHLO slow.bench.example\r\nMAIL FROM:<>\r\n" + "RCPT TO:<other@sink.example>\r\n".repeat(200),
    drips: false,
    reads: false,
  },
] as const;

class SlowClients implements Disposable {
  readonly #sockets: Socket[] = [];
  readonly #dripping: Socket[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor() {
    // A tenth of them at a time, so that it is not one burst a second.
    let turn = 0;
    this.#timer = setInterval(() => {
      turn = (turn + 1) % 10;
      for (let place = turn; place < this.#dripping.length; place += 10) this.#dripping[place]?.write("x");
    }, 100);
  }

  async open(port: number, count: number): Promise<void> {
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < count) {
        const number = next++;
        const kind = kinds[number % kinds.length] ?? kinds[0];
        const socket = connect({ port, host: "127.0.0.1", localAddress: localAddress(number) });
        socket.on("error", () => undefined);
        await once(socket, "connect");
        if (kind.reads) socket.resume();
        socket.write(kind.questions);
        this.#sockets.push(socket);
        if (kind.drips) this.#dripping.push(socket);
      }
    };
    await Promise.all(Array.from({ length: OPENING }, lane));
  }

  get connected(): number {
    return this.#sockets.filter((socket) => !socket.destroyed).length;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.destroy();
  }
}

export async function slowClients({ scale, connections }: BenchOptions): Promise<Report> {
  const count = Math.min(SLOW, connections);
  allowDescriptors(count);
  const seconds = Math.max(2, OTHERS_SECONDS * scale);
  await using sink = await SmtpSink.start();
  await using packetboat = await Packetboat.start({ "bench.yaml": mailServer(sink.port) });
  const side = sideOf(packetboat);
  await others(side, seconds);
  const p99 = async (): Promise<number> => quantile(await others(side, seconds), 0.99);
  const before = { p99Ms: await p99(), memoryMiB: memoryMiB(side.root()) };
  using slow = new SlowClients();
  await slow.open(side.port, count);
  // What they have pipelined is work like any other; slow is what comes after it.
  await sleep(SETTLING_MS);
  const during = { p99Ms: await p99(), memoryMiB: memoryMiB(side.root()), connected: slow.connected };
  const ratio = during.p99Ms / before.p99Ms;
  return {
    table: [
      ["slow clients", "memory MiB", "others' p99 ms", "ratio"],
      ["0", shown(before.memoryMiB), shown(before.p99Ms), "1"],
      [`${during.connected}`, shown(during.memoryMiB), shown(during.p99Ms), shown(ratio)],
    ],
    notes: ["Slow clients that were sent away by now are not counted; Packetboat's limits are its defaults."],
    targets: [
      { what: "slow clients at once", figure: during.connected, bound: count * 0.9, kind: "atLeast" },
      { what: "others' p99, times that without them", figure: ratio, bound: MOST_RATIO, kind: "atMost" },
    ],
  };
}
