import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { ADMIN_PORT, containerPorts } from "./ports.ts";

suite("container ports", () => {
  const cases: readonly [ports: number[], expected: number[]][] = [
    [
      [25, 587, 465],
      [2525, 2587, 2465],
    ],
    [
      [24, 143],
      [2024, 2143],
    ],
    [
      [2525, 25],
      [2525, 2526],
    ],
    [
      [25, 2525],
      [2526, 2525],
    ],
    [
      [525, 25],
      [2526, 2525],
    ],
    [[9125], [9126]],
    [[10025], [10025]],
  ];
  for (const [ports, expected] of cases)
    test(`${ports.join(", ")} → ${expected.join(", ")}`, () => assert.deepEqual(containerPorts(ports), expected));

  test("always unprivileged, distinct, never the admin port", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(fc.integer({ min: 1, max: 65_535 }), fc.constantFrom(25, 465, 525, 587, 2525, 9125, 65_535)),
          { maxLength: 32 },
        ),
        (ports) => {
          const assigned = containerPorts(ports);
          assert.equal(new Set(assigned).size, ports.length);
          for (const port of assigned) assert.ok(port >= 1024 && port <= 65_535 && port !== ADMIN_PORT);
        },
      ),
    );
  });
});
