/** Watching the folder: each good set once, the reason why a newer one is not taken, a line for what stays incomplete. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { renderFiles } from "./files.ts";
import { aRenderedConfig } from "./sample.ts";
import type { LiveConfig } from "./schema.ts";
import { watchConfig } from "./watch.ts";

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 10_000; !holds(); await sleep(10))
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
}

test("a set that goes bad under the running one is told of and said once; whole again, nothing is pending; a newer one is taken", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "packetboat-watch-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const lines: Record<string, unknown>[] = [];
  const log = pino(
    { messageKey: "event" },
    { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  );
  const files = renderFiles(aRenderedConfig());
  const write = (set: ReadonlyMap<string, string>): void => {
    for (const [name, content] of set) writeFileSync(join(directory, name), content);
  };
  write(files);
  const taken: LiveConfig[] = [];
  const watch = watchConfig(directory, async (config) => void taken.push(config), log);
  t.after(() => watch.close());
  await until("the first set", () => taken.length === 1);

  writeFileSync(join(directory, "table-00.json"), "garbage");
  await until("the reason", () => (watch.pending()?.message ?? "").startsWith("table-00.json is not yet"));
  assert.equal(watch.pending()?.kind, "incomplete");
  assert.equal(lines.filter(({ event }) => /refused/.test(String(event))).length, 0);
  const isSaid = (): number =>
    lines.filter(({ event }) => String(event).startsWith("configuration refused: it stays incomplete")).length;
  await until("the line", () => isSaid() === 1);

  write(files);
  await until("nothing pending", () => watch.pending() === undefined);
  assert.equal(taken.length, 1);
  assert.equal(isSaid(), 1);

  const config = aRenderedConfig();
  write(renderFiles({ ...config, server: { ...config.server, hostname: "new.example.org" } }));
  await until("the newer set", () => taken.length === 2);
  assert.equal(taken[1]?.server.hostname, "new.example.org");
  assert.equal(watch.pending(), undefined);
});
