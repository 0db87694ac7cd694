import assert from "node:assert/strict";
import { pbkdf2Sync } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { saslPrep, scramText } from "../config/saslprep.ts";
import { parsePasswordHash, type ScramVerifier } from "./password-hash.ts";
import type { SaslStep } from "./sasl.ts";
import { parseClientFinal, parseClientFirst, scram } from "./scram.ts";
import { ScramClient } from "../config/scram-client-fixture.ts";

const b64 = (text: string): string => Buffer.from(text).toString("base64");
const text = (base64: string): string => Buffer.from(base64, "base64").toString();

function verifierOf(
  password: string,
  rounds = 4096,
  salt = Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64"),
): ScramVerifier {
  const parsed = parsePasswordHash(scramText(rounds, salt, pbkdf2Sync(saslPrep(password), salt, rounds, 32, "sha256")));
  assert.ok(parsed?.kind === "scram-sha-256");
  return parsed;
}
const pencil = verifierOf("pencil");
const decoy = verifierOf("nobody could ever type this");
const known = (username: string): { user: string | undefined; verifier: ScramVerifier } =>
  username === "user" || username === "a,b=c"
    ? { user: username, verifier: pencil }
    : { user: undefined, verifier: decoy };
const exporter = Buffer.alloc(32, 7);

function server(options: Partial<Parameters<typeof scram>[0]> = {}): (line: string) => SaslStep {
  return scram({
    plus: false,
    channelBinding: undefined,
    lookUp: known,
    nonce: () => "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    ...options,
  });
}
function challenge(step: SaslStep): { data: string; next: (line: string) => SaslStep } {
  assert.ok(step.kind === "challenge", `a challenge, not ${step.kind}`);
  const next = (line: string): SaslStep => {
    const following = step.next(line);
    assert.ok(!(following instanceof Promise));
    return following;
  };
  return { data: step.data, next };
}

test("RFC 7677 §3: the example, octet by octet", () => {
  const first = challenge(server()(b64("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")));
  assert.equal(
    text(first.data),
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
  );
  const final = challenge(
    first.next(
      b64("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
    ),
  );
  assert.equal(text(final.data), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
  // RFC 4954 §4: what comes with success is a challenge of its own, and its answer is empty.
  assert.deepEqual(final.next(""), { kind: "authenticated", user: "user" });
  assert.deepEqual(final.next("*"), { kind: "cancelled" });
  assert.deepEqual(final.next("eA=="), { kind: "syntax" });
});

/** The whole exchange of a client, to its last step. */
function outcome(client: ScramClient, options: Parameters<typeof server>[0] = {}): string {
  const first = server(options)(client.first());
  if (first.kind !== "challenge") return first.kind;
  const step = challenge(first);
  const final = step.next(client.final(step.data));
  if (final.kind !== "challenge") return final.kind;
  assert.ok(client.trusts(final.data), "the server proves itself");
  return challenge(final).next("").kind;
}

const plus = { plus: true, channelBinding: () => exporter };
const table: readonly (readonly [
  string,
  ConstructorParameters<typeof ScramClient>[0],
  Parameters<typeof server>[0],
  string,
])[] = [
  ["the right password", { username: "user", password: "pencil" }, {}, "authenticated"],
  ["a wrong password", { username: "user", password: "pen" }, {}, "refused"],
  ["nobody", { username: "nobody", password: "pencil" }, {}, "refused"],
  [
    "another nonce in the end, well signed",
    { username: "user", password: "pencil", finalNonce: "other" },
    {},
    "refused",
  ],
  [
    "nobody, with the decoy's own password",
    { username: "nobody", password: "nobody could ever type this" },
    {},
    "refused",
  ],
  ["a name with a comma and an equals sign", { username: "a,b=c", password: "pencil" }, {}, "authenticated"],
  ["for itself", { username: "user", password: "pencil", gs2Header: "n,a=User," }, {}, "authenticated"],
  ["for somebody else", { username: "user", password: "pencil", gs2Header: "n,a=root," }, {}, "refused"],
  [
    "bound to the channel",
    { username: "user", password: "pencil", gs2Header: "p=tls-exporter,,", binding: exporter },
    plus,
    "authenticated",
  ],
  [
    "bound to another channel",
    { username: "user", password: "pencil", gs2Header: "p=tls-exporter,,", binding: Buffer.alloc(32) },
    plus,
    "refused",
  ],
  [
    "a binding we do not have",
    { username: "user", password: "pencil", gs2Header: "p=tls-unique,,", binding: exporter },
    plus,
    "refused",
  ],
  ["-PLUS without a binding", { username: "user", password: "pencil" }, plus, "syntax"],
  [
    "a binding without -PLUS",
    { username: "user", password: "pencil", gs2Header: "p=tls-exporter,,", binding: exporter },
    { channelBinding: () => exporter },
    "syntax",
  ],
  [
    "somebody took -PLUS away (RFC 5802 §6)",
    { username: "user", password: "pencil", gs2Header: "y,," },
    { channelBinding: () => exporter },
    "refused",
  ],
  ["no -PLUS, and the client says so", { username: "user", password: "pencil", gs2Header: "y,," }, {}, "authenticated"],
];
for (const [name, attempt, options, expected] of table)
  test(name, () => assert.equal(outcome(new ScramClient(attempt), options), expected));

test("a proof of another exchange, or with a changed nonce, is worth nothing", () => {
  const client = new ScramClient({ username: "user", password: "pencil" });
  const proof = client.final(challenge(server()(client.first())).data);
  const other = challenge(server({ nonce: () => "another" })(client.first()));
  assert.equal(other.next(proof).kind, "refused");
});

for (const line of [
  "",
  "n",
  "n,,",
  "n,,n=user",
  "n,,r=abc,n=user",
  "n,,m=x,n=user,r=abc",
  "x,,n=user,r=abc",
  "p=,,n=user,r=abc",
  "n,user,n=user,r=abc",
  "n,,n=,r=abc",
  "n,,n=us=er,r=abc",
  "n,,n=user,r=",
  "n,,n=user,r=a b",
  `n,,n=user,r=${"a".repeat(513)}`,
  "n,,n=us\nr,r=abc",
])
  test(`not a client-first: ${JSON.stringify(line.slice(0, 40))}`, () =>
    assert.deepEqual(server()(b64(line)), { kind: "syntax" }));

test("lines that are not base64, and cancelled ones", () => {
  assert.deepEqual(server()("n,,n=user"), { kind: "syntax" });
  assert.deepEqual(server()("*"), { kind: "cancelled" });
});

test("whatever comes: a step, and no match without the password", () => {
  const part = fc.oneof(
    fc.constantFrom("n", "y", "p=x", "", "a=", "n=user", "r=abc", "c=biws", "p=AAAA", "m=1", "=2C", "="),
    fc.string(),
  );
  const message = fc.array(part, { maxLength: 8 }).map((parts) => parts.join(","));
  fc.assert(
    fc.property(message, message, (first, second) => {
      const parsed = parseClientFirst(first);
      if (parsed !== undefined) assert.ok(first.startsWith(parsed.gs2Header) && first.endsWith(parsed.bare));
      parseClientFinal(second);
      const step = server()(b64(first));
      if (step.kind !== "challenge") return;
      assert.notEqual(challenge(step).next(b64(second)).kind, "challenge");
    }),
    { numRuns: 2000 },
  );
});
