/** Redirect, Bcc, Prepend, Hold: what they make of a message. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { prepend } from "../policy/effect.ts";
import type { NewRecipient } from "../queue/queue.ts";
import { isHeldBy, prependedFields, recipientsOf } from "./effects.ts";

const named = new Map<string, NewRecipient>(
  ["a@example.org", "b@example.org"].map((address) => [address, { address, notify: ["SUCCESS"] }]),
);
const all = [...named.values()];
const bcc = (address: string) => ({ kind: "bcc", address }) as const;
const redirect = (address: string) => ({ kind: "redirect", address }) as const;

test("recipients after redirect and bcc", () => {
  assert.deepEqual(recipientsOf(named, []), all);
  assert.deepEqual(recipientsOf(named, [{ kind: "hold" }]), all);
  assert.deepEqual(recipientsOf(named, [bcc("c@example.org"), bcc("c@example.org"), bcc("a@example.org")]), [
    ...all,
    { address: "c@example.org", notify: ["NEVER"] },
  ]);
  assert.deepEqual(recipientsOf(named, [redirect("x@example.org"), redirect("y@example.org"), bcc("a@example.org")]), [
    { address: "y@example.org" },
    { address: "a@example.org", notify: ["NEVER"] },
  ]);
});

test("fields are put above in their order; what is no field is none", () => {
  const fields = ["X-One: 1", "X-Two:2"].map(prepend).filter((effect) => effect !== undefined);
  assert.equal(prependedFields([{ kind: "hold" }, ...fields]), "X-One: 1\r\nX-Two:2\r\n");
  for (const bad of ["no field", ": x", "X y: z", "X: a\r\nY: b", "X: a\nb", "X: \0", `X: ${"y".repeat(2000)}`])
    assert.equal(prepend(bad), undefined, bad);
  assert.ok(isHeldBy([{ kind: "hold" }]));
  assert.ok(!isHeldBy(fields));
});
