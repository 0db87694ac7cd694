/** spec.addresses → rewriting: keys as the server looks them up, and sentences for what cannot be used. */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { aMailServer } from "../../crds/builders.ts";
import type { MailServerSpec } from "../../crds/mail-server.ts";
import { noRewriting, rewritingSchema } from "../../server/config/rewriting.ts";
import { buildDesired } from "./build.ts";
import { aWorld } from "./sample-world.ts";

function build(spec: Pick<Partial<MailServerSpec>, "addresses" | "tables" | "listeners">) {
  const desired = buildDesired(aWorld({ server: aMailServer({ spec }) }));
  const verdict = desired.verdicts.get("MailServer/default/mx");
  return {
    server: desired.config.server,
    rewriting: rewritingSchema.parse(desired.config.server.rewriting),
    message: verdict?.accepted === false ? verdict.message : "",
  };
}

suite("build: rewriting", () => {
  test("nothing said is nothing rewritten", () => assert.deepEqual(build({}).rewriting, noRewriting));

  test("keys and results are brought into their form; the order of maps and domains stays", () => {
    const { rewriting, message } = build({
      tables: [{ name: "test", type: "Regexp", content: { text: "/^(.*@)test.example.com$/ ${1}example.com" } }],
      addresses: {
        canonical: [
          {
            entries: [
              { from: "Alice@B\u00fccher.example", to: "Alice.Doe@Example.org" },
              { from: "@Old.example", to: "@New.example" },
              { from: "Root", to: "admin@example.org" },
            ],
          },
          { classes: ["HeaderRecipient", "EnvelopeRecipient"], tables: ["test"], propagateExtension: false },
        ],
        masquerade: { domains: ["!ML.example.com", "Example.com"], exceptions: ["Root", "root"] },
        generic: [{ entries: [{ from: "@int.example", to: "office@example.net" }] }],
        rewriteHeadersOf: ["Everybody"],
        complete: { origin: "Example.com", parent: "b\u00fccher.example" },
      },
    });
    assert.equal(message, "");
    assert.deepEqual(rewriting, {
      canonical: [
        {
          classes: ["EnvelopeRecipient", "EnvelopeSender", "HeaderRecipient", "HeaderSender"],
          entries: {
            "@old.example": "@new.example",
            "alice@xn--bcher-kva.example": "Alice.Doe@example.org",
            root: "admin@example.org",
          },
          tables: [],
          propagateExtension: true,
        },
        { classes: ["EnvelopeRecipient", "HeaderRecipient"], entries: {}, tables: ["test"], propagateExtension: false },
      ],
      masquerade: {
        domains: [
          { domain: "ml.example.com", isHidden: false },
          { domain: "example.com", isHidden: true },
        ],
        exceptions: ["root"],
        classes: ["EnvelopeSender", "HeaderRecipient", "HeaderSender"],
      },
      generic: [{ entries: { "@int.example": "office@example.net" }, tables: [], propagateExtension: false }],
      rewriteHeadersOf: ["Everybody"],
      complete: { origin: "example.com", parent: "xn--bcher-kva.example" },
    });
  });

  const wrong: readonly (readonly [
    addresses: NonNullable<MailServerSpec["addresses"]>,
    sentence: RegExp,
    tables?: MailServerSpec["tables"],
  ])[] = [
    [
      { canonical: [{ entries: [{ from: "a b@c", to: "d@e" }] }] },
      /canonical\[0\]\.entries: "a b@c" is not an address, @domain or local part/,
    ],
    [{ canonical: [{ entries: [{ from: "a@c", to: "dd" }] }] }, /"dd" is not an address or @domain/],
    [
      {
        canonical: [
          {
            entries: [
              { from: "A@c.example", to: "x@e" },
              { from: "a@C.example", to: "y@e" },
            ],
          },
        ],
      },
      /"a@C.example" is there twice/,
    ],
    [
      { generic: [{ tables: ["gone"] }] },
      /generic\[0\]\.tables: "gone" is not in spec\.tables; .* Until then mail that it would rewrite waits/,
    ],
    [
      { generic: [{ tables: ["nets"] }] },
      /"nets" is a table of networks/,
      [{ name: "nets", type: "CIDR", content: { text: "10.0.0.0/8 a@b" } }],
    ],
    [{ masquerade: { domains: ["exa$mple.com"] } }, /masquerade\.domains: "exa\$mple\.com" is not a domain/],
    [{ complete: { origin: "-!-" } }, /complete\.origin: "-!-" is not a domain/],
  ];
  for (const [addresses, sentence, tables] of wrong)
    test(`said: ${sentence.source.slice(0, 70)}`, () => {
      const { message, rewriting } = build({ addresses, ...(tables === undefined ? {} : { tables }) });
      assert.match(message, sentence);
      for (const { tables: named } of rewriting.generic) assert.equal(named.length, 1);
    });

  test("what would not fit into a ConfigMap is said and left out", () => {
    const entries = Array.from({ length: 500 }, (_, n) => ({
      from: `user-with-a-very-long-name-${n}@${"a".repeat(60)}.example`,
      to: `somebody-else-with-a-very-long-name-${n}@${"b".repeat(60)}.example`,
    }));
    const { message, rewriting } = build({ addresses: { canonical: [{ entries }, { entries }] } });
    assert.match(message, /canonical\[1\]: all entries together may hold 200000 octets/);
    assert.deepEqual(
      rewriting.canonical.map((map) => Object.keys(map.entries).length),
      [500, 0],
    );
  });

  test("cleanHeaders of a listener", () => {
    const { server } = build({
      listeners: [
        {
          name: "s",
          role: "Submission",
          port: 587,
          cleanHeaders: { removeFields: ["X-Mailer", "User-Agent", "x-mailer"] },
        },
      ],
    });
    assert.deepEqual(server.listeners[0]?.cleanHeaders, {
      hideClientAddress: false,
      removeFields: ["user-agent", "x-mailer"],
    });
  });
});
