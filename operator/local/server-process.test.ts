import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { ServerLog } from "./server-log.ts";
import { ServerProcess, type ServerProcessTimes } from "./server-process.ts";

const times: ServerProcessTimes = { firstDelayMs: 10, longestDelayMs: 40, settledAfterMs: 60_000, graceMs: 5000 };

suite("the server as a child", () => {
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "packetboat-child-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  /** A child that runs `body`; `said(pattern)` waits for a line of its output or a sentence to the person. */
  async function aChild(body: string, options: Partial<ServerProcessTimes> = {}) {
    const script = join(folder, `${Math.random().toString(36).slice(2)}.mjs`);
    await writeFile(script, body);
    let heard = "";
    const waiting = new Set<() => void>();
    const hear = (text: string): void => {
      heard += text;
      for (const wake of waiting) wake();
    };
    const said = (pattern: RegExp): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => {
          if (!pattern.test(heard)) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      });
    const child = new ServerProcess(
      { node: process.execPath, script, args: ["--config", "C"], env: process.env },
      {
        log: (chunk) => hear(chunk.toString()),
        say: (sentence) => hear(`SAY ${sentence}\n`),
        gaveUp: (sentence) => hear(`GAVE UP ${sentence}\n`),
      },
      { ...times, ...options },
    );
    return { child, said, heard: () => heard };
  }

  test("gets its arguments, and ends cleanly on stop", async () => {
    const { child, said } = await aChild(
      `process.on("SIGTERM", () => { console.log("drained"); process.exit(0); }); console.log("args", process.argv.slice(2).join(" ")); setInterval(() => {}, 1000);`,
    );
    child.start();
    await said(/args --config C/);
    await child.stop();
    await said(/drained/);
    assert.equal(child.pid, undefined);
  });

  test("is started again after a crash, with its last line told, ever later", async () => {
    const { child, said } = await aChild(`console.log("the spool is on fire"); process.exit(3);`);
    child.start();
    await said(
      /SAY The server ended with exit code 3; it is started again in 0\.01 s\. Its last line: the spool is on fire[^]*in 0\.02 s[^]*in 0\.04 s[^]*in 0\.04 s/,
    );
    await child.stop();
  });

  test("is not started again where another program has its port", async () => {
    const { child, said, heard } = await aChild(
      `console.log("listen EADDRINUSE: address already in use 127.0.0.1:2525"); process.exit(1);`,
    );
    child.start();
    await said(/GAVE UP A port that the server needs was taken/);
    assert.doesNotMatch(heard(), /SAY/);
  });

  test("is not started again when it refuses to start, and its reason is told", async () => {
    const { child, said, heard } = await aChild(
      `console.log(JSON.stringify({ level: "fatal", reason: "the data folder is in use", event: "cannot start" })); process.exit(1);`,
    );
    child.start();
    await said(/GAVE UP The server cannot start: the data folder is in use/);
    assert.doesNotMatch(heard(), /SAY/);
  });

  test("exit code 1 after it had served is a crash like any other", async () => {
    const { child, said } = await aChild(`process.exit(1);`);
    child.served();
    child.start();
    await said(/SAY The server ended with exit code 1; it is started again/);
    await child.stop();
  });

  test("is killed when it does not end in time", async () => {
    const { child, said } = await aChild(
      `process.on("SIGTERM", () => {}); console.log("up"); setInterval(() => {}, 1000);`,
      { graceMs: 50 },
    );
    child.start();
    await said(/up/);
    await child.stop();
    await said(/SAY The server did not end within/);
  });

  test("a program that does not exist is a sentence, not an exception", async () => {
    let told = "";
    const child = new ServerProcess(
      { node: join(folder, "no-such-node"), script: "x", args: [], env: {} },
      { log: () => undefined, say: (sentence) => (told = sentence), gaveUp: () => undefined },
      times,
    );
    child.start();
    while (told === "") await new Promise((resolve) => setImmediate(resolve));
    assert.match(told, /could not be started/);
    await child.stop();
  });
});

suite("the server's log file", () => {
  test("is bounded by two files and carries on where it was", async () => {
    const folder = await mkdtemp(join(tmpdir(), "packetboat-log-"));
    try {
      const path = join(folder, "server.log");
      const log = new ServerLog(path, assert.fail, 10);
      log.write(Buffer.from("12345678"));
      log.write(Buffer.from("abcd"));
      log.close();
      assert.equal(await readFile(`${path}.1`, "utf8"), "12345678");
      assert.equal(await readFile(path, "utf8"), "abcd");
      const again = new ServerLog(path, assert.fail, 10);
      again.write(Buffer.from("efgh"));
      again.write(Buffer.from("ijk"));
      again.close();
      assert.equal(await readFile(`${path}.1`, "utf8"), "abcdefgh");
      assert.equal(await readFile(path, "utf8"), "ijk");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
