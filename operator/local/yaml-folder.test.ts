/** A folder read again: only what changed is parsed, and what is gone is gone. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type RememberedFiles, readYamlFolder } from "./yaml-folder.ts";

test("an unchanged file is not parsed again; a changed, a new and a removed one count", async () => {
  const folder = mkdtempSync(join(tmpdir(), "packetboat-yaml-"));
  try {
    const write = (name: string, kind: string): void => writeFileSync(join(folder, name), `kind: ${kind}\n`);
    const remembered: RememberedFiles = new Map();
    const kinds = async (): Promise<unknown[]> =>
      (await readYamlFolder(folder, remembered)).documents.map(({ value }) => value["kind"]);
    write("a.yaml", "A");
    write("b.yaml", "B");
    assert.deepEqual(await kinds(), ["A", "B"]);
    const ofA = remembered.get("a.yaml")?.read;
    write("b.yaml", "B2");
    write("c.yaml", "C");
    assert.deepEqual(await kinds(), ["A", "B2", "C"]);
    assert.equal(remembered.get("a.yaml")?.read, ofA);
    rmSync(join(folder, "a.yaml"));
    assert.deepEqual(await kinds(), ["B2", "C"]);
    assert.deepEqual([...remembered.keys()].sort(), ["b.yaml", "c.yaml"]);
    writeFileSync(join(folder, "c.yaml"), "kind: [");
    assert.equal((await readYamlFolder(folder, remembered)).problems.length, 1);
    write("c.yaml", "C");
    assert.deepEqual(await kinds(), ["B2", "C"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
