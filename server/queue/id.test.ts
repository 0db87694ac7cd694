import assert from "node:assert/strict";
import { test } from "node:test";
import { QueueIds } from "./id.ts";

test("an id is sixteen letters and digits", () => {
  for (const time of [0, 1, Date.now(), Date.UTC(2080, 0)]) {
    assert.match(new QueueIds(() => time).next(), /^[0-9A-Za-z]{16}$/);
  }
});

test("ids sort by time, whichever process they are from", () => {
  const ids = [1_700_000_000_000, 1_700_000_000_001, 1_900_000_000_000, 3_000_000_000_000].map((time) =>
    new QueueIds(() => time).next(),
  );
  assert.deepEqual(ids.toSorted(), ids);
});

test("a process gives rising ids, however fast it asks and whatever its clock does", () => {
  let time = 1_800_000_000_000;
  const ids = new QueueIds(() => time);
  const given: string[] = [];
  for (let count = 0; count < 300_000; count++) {
    if (count === 250_000) time -= 3_600_000;
    given.push(ids.next());
  }
  assert.equal(new Set(given).size, given.length);
  assert.deepEqual(given.toSorted(), given);
});

test("two processes with the same clock do not meet", () => {
  const clock = (): number => 1_800_000_000_000;
  const processes = Array.from({ length: 200 }, () => new QueueIds(clock));
  const given = processes.flatMap((ids) => [ids.next(), ids.next()]);
  assert.equal(new Set(given).size, given.length);
});

test("the six characters in the middle are the process", () => {
  const id = new QueueIds(() => 0, 61).next();
  assert.equal(id, "000000000000z000");
});
