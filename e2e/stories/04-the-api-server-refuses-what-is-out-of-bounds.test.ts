/** Every field out of bounds is refused by the API server, in words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { object, Stage } from "./stage.ts";

const refused: readonly { readonly name: string; readonly yaml: string; readonly says: RegExp }[] = [
  {
    name: "an address without domain",
    yaml: object("Mailbox", "bad", { address: "alice", domainRef: { name: "example-org" } }),
    says: /address/i,
  },
  {
    name: "a reference without name",
    yaml: object("Mailbox", "bad", { address: "a@example.org", domainRef: {} }),
    says: /domainRef\.name/,
  },
  {
    name: "an unknown class",
    yaml: object("MailDomain", "bad", { domain: "a.example", serverRef: { name: "mx" }, class: "Local" }),
    says: /Unsupported value: "Local"/,
  },
  {
    name: "two deliveries at once",
    yaml: object("MailDomain", "bad", {
      domain: "a.example",
      serverRef: { name: "mx" },
      class: "Mailbox",
      delivery: { maildir: {}, discard: {} },
    }),
    says: /exactly one/i,
  },
  {
    name: "a field that does not exist",
    yaml: object("MailDomain", "bad", {
      domain: "a.example",
      serverRef: { name: "mx" },
      class: "Mailbox",
      deliverys: {},
    }),
    says: /unknown field "spec\.deliverys"/,
  },
  {
    name: "an alias that leads nowhere",
    yaml: object("Alias", "bad", { domainRef: { name: "example-org" }, addresses: ["x"] }),
    says: /destinations/,
  },
  {
    name: "fewer recipients than RFC 5321 wants",
    yaml: object("MailServer", "bad", { hostname: "a.example", limits: { recipients: 10 } }),
    says: /100/,
  },
  {
    name: "a duration that is none",
    yaml: object("MailServer", "bad", { hostname: "a.example", queue: { minBackoff: "soon" } }),
    says: /minBackoff/,
  },
  {
    name: "a fingerprint of the wrong length",
    yaml: object("RelayClientCert", "bad", {
      serverRef: { name: "mx" },
      fingerprints: [{ algorithm: "SHA256", of: "Certificate", value: "abcd" }],
    }),
    says: /value/,
  },
  {
    name: "too many replicas to be meant",
    yaml: object("MailServer", "bad", { hostname: "a.example", replicas: 100_000 }),
    says: /replicas/,
  },
];

for (const { name, yaml, says } of refused) {
  test(`refused: ${name}`, async () => {
    const stage = await Stage.set();
    const message = await stage.apply(yaml).then(
      () => "accepted",
      (cause: unknown) => String(cause),
    );
    assert.match(message, says);
    console.log(
      message
        .split("\n")
        .find((line) => says.test(line))
        ?.trim(),
    );
  });
}

test("identity does not change: a Mailbox's address is refused to move", async () => {
  const stage = await Stage.set();
  const message = await stage
    .kubectl("patch", "mailbox/alice", "--type=merge", "-p", '{"spec":{"address":"alicia@example.org"}}')
    .then(
      () => "accepted",
      (cause: unknown) => String(cause),
    );
  assert.match(message, /immutable|cannot be changed/i);
});
