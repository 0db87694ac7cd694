import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mock, test } from "node:test";
import { aQueue } from "./queue-fixture.ts";
import { TierUp } from "./tier-up.ts";

const OFF = "--battery-saver-mode";
const ON = "--no-battery-saver-mode";

const table: readonly [
  what: string,
  begins: readonly (readonly [atMs: number, inHand: number])[],
  flags: readonly string[],
][] = [
  [
    "one message after the other: off, said once",
    [
      [0, 1],
      [1, 1],
      [500, 2],
      [501, 3],
    ],
    [OFF],
  ],
  [
    "a flood: as V8 starts, on",
    [
      [0, 4],
      [1, 9],
      [90, 1],
      [91, 4],
      [180, 1],
    ],
    [],
  ],
  [
    "a flood that ends",
    [
      [0, 4],
      [99, 1],
      [100, 1],
      [101, 1],
    ],
    [OFF],
  ],
  [
    "a flood on a quiet server",
    [
      [0, 1],
      [10, 4],
      [11, 5],
      [200, 1],
      [201, 4],
    ],
    [OFF, ON, OFF, ON],
  ],
];
for (const [what, begins, flags] of table)
  test(what, () => {
    let now = 0;
    const said: string[] = [];
    const tierUp = new TierUp(
      (flag) => said.push(flag),
      () => now,
    );
    for (const [atMs, inHand] of begins) {
      now = atMs;
      tierUp.messageBegins(inHand);
    }
    assert.deepEqual(said, flags);
  });

test("this V8 knows both flags", () => {
  // An unknown one is no exception: V8 says so on standard error, in its own way.
  const script = (flags: readonly string[]): string =>
    flags.map((flag) => `require("node:v8").setFlagsFromString("${flag}");`).join("");
  const said = (flags: readonly string[]): string =>
    spawnSync(process.execPath, ["--eval", script(flags)], { encoding: "utf8" }).stderr;
  assert.equal(said([OFF, ON]), "");
  assert.match(said(["--no-such-mode"]), /unrecognized flag/);
});

test("the queue tells it of each message, with how many are in hand", async () => {
  await using spool = await aQueue();
  const told = mock.method(TierUp.prototype, "messageBegins", () => undefined);
  try {
    const writers = [spool.queue.newMessage(), spool.queue.newMessage(), spool.queue.newMessage()];
    await writers[0]?.abort();
    writers.push(spool.queue.newMessage());
    assert.deepEqual(
      told.mock.calls.map((call) => call.arguments),
      [[1], [2], [3], [3]],
    );
    for (const writer of writers) await writer.abort();
  } finally {
    told.mock.restore();
  }
});
