/** Watching the folder: each good set once, the reason why a newer one is not taken, a line for what stays incomplete. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
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

test("a volume refreshed as the kubelet does it is seen by its events alone, however they fall", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "packetboat-watch-"));
  t.after(() => rmSync(directory, { recursive: true }));
  /** A new folder, its files one by one, then one rename of the link that all names lead through. */
  const refresh = async (generation: number): Promise<void> => {
    const hostname = `mx${generation}.example.org`;
    const config = aRenderedConfig();
    const folder = `..${generation}`;
    mkdirSync(join(directory, folder));
    await sleep(generation % 20);
    for (const [name, content] of renderFiles({ ...config, server: { ...config.server, hostname } }))
      writeFileSync(join(directory, folder, name), content);
    await sleep((generation * 7) % 25);
    symlinkSync(folder, join(directory, "..data_tmp"));
    renameSync(join(directory, "..data_tmp"), join(directory, "..data"));
    if (generation > 1) rmSync(join(directory, `..${generation - 1}`), { recursive: true });
  };
  await refresh(1);
  for (const name of renderFiles(aRenderedConfig()).keys()) symlinkSync(join("..data", name), join(directory, name));
  const taken: string[] = [];
  const noPollMs = 1_000_000_000;
  const watch = watchConfig(
    directory,
    async (config) => void taken.push(config.server.hostname),
    pino({ level: "silent" }),
    noPollMs,
  );
  t.after(() => watch.close());
  for (let generation = 1; generation <= 40; generation++) {
    if (generation > 1) await refresh(generation);
    await until(`set ${generation}`, () => taken.at(-1) === `mx${generation}.example.org`);
  }
});
