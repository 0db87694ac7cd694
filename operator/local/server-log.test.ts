/** The embedded server's log file when it cannot be written. Its rotation: server-process.test.ts. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ServerLog } from "./server-log.ts";

const line = (level: string, event: string): string => `{"level":"${level}","event":"${event}"}\n`;

test("a log that cannot be written: said once, errors go to the terminal, nothing is thrown", {
  skip: existsSync("/dev/full") ? false : "this machine has no /dev/full",
}, (t) => {
  const folder = mkdtempSync(join(tmpdir(), "packetboat-log-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "server.log");
  symlinkSync("/dev/full", path);
  const heard: string[] = [];
  const log = new ServerLog(path, (text) => heard.push(text));
  log.write(Buffer.from(line("info", "a message") + line("error", "queue-full")));
  for (let count = 0; count < 100; count++) log.write(Buffer.from(line("error", "again")));
  log.close();
  assert.match(heard[0] ?? "", /server\.log cannot be written \(ENOSPC\)/);
  assert.equal(`${heard[1]}\n`, line("error", "queue-full"));
  assert.equal(heard.length, 21);
});
