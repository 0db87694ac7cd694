/** Socketmap against a daemon on loopback and on a unix socket: every reply, splits, bounds, lost connections. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Endpoint, SocketmapSource } from "../config/lookups.ts";
import { LookupUnavailable } from "./lookup.ts";
import { encodeNetstring, NetstringReader } from "./netstring.ts";
import { createSocketmap } from "./socketmap.ts";

class Daemon implements AsyncDisposable {
  readonly server: Server;
  readonly sockets = new Set<Socket>();
  readonly asked: string[] = [];
  connections = 0;

  private constructor(answer: (request: string, socket: Socket) => void) {
    this.server = createServer((socket) => {
      this.connections++;
      this.sockets.add(socket);
      socket.on("error", () => undefined);
      const reader = new NetstringReader(10_000);
      socket.on("data", (data) => {
        for (const frame of reader.push(typeof data === "string" ? Buffer.from(data) : data)) {
          this.asked.push(String(frame));
          answer(String(frame), socket);
        }
      });
    });
  }

  static async start(answer: (request: string, socket: Socket) => void, path?: string): Promise<Daemon> {
    const daemon = new Daemon(answer);
    if (path === undefined) daemon.server.listen(0, "127.0.0.1");
    else daemon.server.listen(path);
    await once(daemon.server, "listening");
    return daemon;
  }

  get endpoint(): Endpoint {
    const address = this.server.address();
    if (address === null) throw new Error("closed");
    return typeof address === "string" ? { path: address } : { host: "127.0.0.1", port: address.port };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    if (this.server.listening) {
      this.server.close();
      await once(this.server, "close");
    }
  }
}

const source = (hosts: Endpoint[], more: Partial<SocketmapSource> = {}): SocketmapSource => ({
  kind: "socketmap",
  name: "sts",
  cache: { entries: 0, ttlMs: 0, negativeTtlMs: 0 },
  connectTimeoutMs: 500,
  timeoutMs: 1000,
  hosts,
  connections: 2,
  maps: { tlsPolicies: "postfix" },
  ...more,
});
function open(hosts: Endpoint[], more: Partial<SocketmapSource> = {}) {
  const opened = createSocketmap(source(hosts, more), { changed: () => undefined });
  const lookup = opened.lookups.get("tlsPolicies");
  if (lookup === undefined) throw new Error("no lookup");
  return { ask: (key: string) => lookup.get(key), close: () => opened.close() };
}

test("every reply of the protocol, over one kept connection", async () => {
  const replies = new Map<string, string>([
    ["found.example", "OK secure match=mx.found.example"],
    ["nothing.example", "NOTFOUND "],
    ["bare.example", "NOTFOUND"],
    ["empty.example", "OK "],
    ["temp.example", "TEMP try later"],
    ["timeout.example", "TIMEOUT "],
    ["perm.example", "PERM never"],
    ["strange.example", "HELLO"],
  ]);
  await using daemon = await Daemon.start((request, socket) => {
    const reply = encodeNetstring(replies.get(request.slice("postfix ".length)) ?? "NOTFOUND ");
    // In two pieces.
    socket.write(reply.subarray(0, 3));
    setImmediate(() => socket.write(reply.subarray(3)));
  });
  const { ask, close } = open([daemon.endpoint]);
  assert.deepEqual(await ask("found.example"), ["secure match=mx.found.example"]);
  assert.equal(await ask("nothing.example"), undefined);
  assert.equal(await ask("bare.example"), undefined);
  assert.equal(await ask("empty.example"), undefined);
  assert.equal(await ask("with space and ümlaut"), undefined);
  for (const key of ["temp.example", "timeout.example", "perm.example", "strange.example"])
    await assert.rejects(ask(key), LookupUnavailable, key);
  assert.equal(daemon.connections, 1);
  assert.ok(daemon.asked.includes("postfix with space and ümlaut"));
  await close();
});

test("many at once share the connections there may be", async () => {
  await using daemon = await Daemon.start((request, socket) => socket.write(encodeNetstring(`OK ${request}`)));
  const { ask, close } = open([daemon.endpoint]);
  const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => ask(`k${index}`)));
  assert.deepEqual(
    answers.map(String),
    Array.from({ length: 50 }, (_, index) => `postfix k${index}`),
  );
  assert.ok(daemon.connections <= 3, String(daemon.connections));
  await close();
});

test("silence, floods, rubbish and hang-ups are outages, each at its own time", async () => {
  const rows: [what: string, answer: (request: string, socket: Socket) => void][] = [
    ["silence", () => undefined],
    ["flood", (_, socket) => socket.write("100001:")],
    ["rubbish", (_, socket) => socket.write("OK yes\r\n")],
    ["hang-up", (_, socket) => socket.end()],
    ["half", (_, socket) => socket.end("12:OK ab")],
  ];
  for (const [what, answer] of rows) {
    await using daemon = await Daemon.start(answer);
    // Whoever answers, however badly, has its time; silence need not be waited for so long.
    const { ask, close } = open([daemon.endpoint], what === "silence" ? { timeoutMs: 200 } : {});
    await assert.rejects(ask("a.example"), LookupUnavailable, what);
    await close();
  }
});

test("a daemon that was started again is asked without a failure, also on a unix socket", async () => {
  const directory = mkdtempSync(join(tmpdir(), "packetboat-socketmap-"));
  const path = join(directory, "sock");
  try {
    const answer = (_: string, socket: Socket): void => void socket.write(encodeNetstring("OK yes"));
    const first = await Daemon.start(answer, path);
    const { ask, close } = open([{ path }]);
    assert.deepEqual(await ask("a"), ["yes"]);
    await first[Symbol.asyncDispose]();
    await assert.rejects(ask("a"), LookupUnavailable);
    await using _second = await Daemon.start(answer, path);
    assert.deepEqual(await ask("a"), ["yes"]);
    await close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
