import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { writeConfigFolder } from "./config-folder.ts";

suite("the rendered folder", () => {
  test("only what differs is written, the manifest last; what no longer belongs goes, what is not ours stays", async () => {
    const folder = await mkdtemp(join(tmpdir(), "packetboat-config-"));
    try {
      const first = new Map([
        ["manifest.json", "m1"],
        ["server.json", "s1"],
        ["table-00.json", "t1"],
        ["table-01.json", "u1"],
      ]);
      assert.deepEqual(await writeConfigFolder(folder, first), [
        "server.json",
        "table-00.json",
        "table-01.json",
        "manifest.json",
      ]);
      assert.deepEqual(await writeConfigFolder(folder, first), [], "the same set writes nothing");
      await writeFile(join(folder, "notes.txt"), "a person's");
      await writeFile(join(folder, "server.json.new"), "left by a crash");
      const second = new Map([
        ["manifest.json", "m2"],
        ["server.json", "s1"],
        ["table-00.json", "t2"],
      ]);
      assert.deepEqual(await writeConfigFolder(folder, second), ["table-00.json", "manifest.json"]);
      assert.deepEqual((await readdir(folder)).sort(), ["manifest.json", "notes.txt", "server.json", "table-00.json"]);
      assert.equal(await readFile(join(folder, "table-00.json"), "utf8"), "t2");
      assert.equal((await stat(join(folder, "table-00.json"))).mode & 0o777, 0o600);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
