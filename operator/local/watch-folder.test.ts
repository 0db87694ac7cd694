import assert from "node:assert/strict";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, suite, test } from "node:test";
import { type FolderWatch, watchFolder } from "./watch-folder.ts";

const isOurs = (name: string): boolean => name.endsWith(".yaml");

suite("watching the manifests folder", () => {
  let folder = "";
  let watching: FolderWatch | undefined;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "packetboat-watch-"));
  });
  afterEach(async () => {
    watching?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** Starts a watch; the returned function waits for its next call. */
  async function watched(pollMs: number): Promise<() => Promise<void>> {
    let calls = 0;
    let waiting: (() => void) | undefined;
    watching = await watchFolder(folder, isOurs, () => (waiting === undefined ? calls++ : waiting()), {
      debounceMs: 10,
      pollMs,
    });
    return () =>
      new Promise<void>((resolve) => {
        if (calls > 0) {
          calls--;
          resolve();
        } else
          waiting = () => {
            waiting = undefined;
            resolve();
          };
      });
  }

  test("a new file, a changed one, a renamed one and a deleted one are noticed", async () => {
    const next = await watched(50);
    await writeFile(join(folder, "a.yaml"), "1");
    await next();
    await writeFile(join(folder, "a.yaml"), "2");
    await next();
    await rename(join(folder, "a.yaml"), join(folder, "b.yaml"));
    await next();
    await rm(join(folder, "b.yaml"));
    await next();
  });

  test("a changed target of a symbolic link is noticed", async () => {
    await mkdir(join(folder, "elsewhere"));
    await writeFile(join(folder, "elsewhere", "real"), "1");
    await symlink(join(folder, "elsewhere", "real"), join(folder, "a.yaml"));
    const next = await watched(20);
    await writeFile(join(folder, "elsewhere", "real"), "12");
    await next();
  });

  test("the folder may go and come back", async () => {
    const next = await watched(20);
    await rm(folder, { recursive: true });
    await next();
    await mkdir(folder);
    await next();
    await writeFile(join(folder, "a.yaml"), "1");
    await next();
  });

  test("other files and files that stay as they are make no call", async () => {
    await writeFile(join(folder, "a.yaml"), "1");
    let calls = 0;
    watching = await watchFolder(folder, isOurs, () => calls++, { debounceMs: 5, pollMs: 5 });
    await writeFile(join(folder, "a.yaml~"), "editor's copy");
    const seen = new Promise<void>(
      (resolve) =>
        void watchFolder(folder, (name) => name === "end", resolve, { debounceMs: 5, pollMs: 20 }).then((other) =>
          seen.finally(() => other.stop()),
        ),
    );
    await writeFile(join(folder, "end"), "");
    await seen;
    assert.equal(calls, 0);
  });
});
