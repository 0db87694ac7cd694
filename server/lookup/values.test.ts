/** Values in Postfix's notation: transports and TLS policies, and what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { deliverySchema, tlsPolicyEntrySchema } from "../config/schema.ts";
import { parseTlsPolicy, parseTransport } from "./values.ts";

test("transports", () => {
  const smtp = (host: string, port: number, lookupMX: boolean, implicitTLS = false) => ({
    kind: "smtp",
    host,
    port,
    lookupMX,
    implicitTLS,
  });
  const rows: [value: string, wanted: unknown][] = [
    ["smtp:[Mail.example.org]", smtp("mail.example.org", 25, false)],
    ["relay:[mail.example.org]:587", smtp("mail.example.org", 587, false)],
    ["smtp:example.org", smtp("example.org", 25, true)],
    ["smtp:[2001:db8::1]:2525", smtp("2001:db8::1", 2525, false)],
    ["smtps:[mail.example.org]", smtp("mail.example.org", 465, false, true)],
    [":[10.0.0.1]", smtp("10.0.0.1", 25, false)],
    ["lmtp:[10.0.0.5]:24", { kind: "lmtp", host: "10.0.0.5", port: 24 }],
    ["lmtp:inet:imap.example.org", { kind: "lmtp", host: "imap.example.org", port: 24 }],
    ["lmtp:unix:/run/dovecot/lmtp", { kind: "lmtp-socket", path: "/run/dovecot/lmtp" }],
    ["discard:", { kind: "discard" }],
    ["error:5.7.1 no\r\nmail", { kind: "error", code: 550, enhanced: "5.7.1", text: "no??mail" }],
    ["error:no mail", { kind: "error", code: 550, enhanced: "5.0.0", text: "no mail" }],
    ["error:4.2.1 later", { kind: "error", code: 450, enhanced: "4.2.1", text: "later" }],
    ["retry:5.1.1 later", { kind: "error", code: 450, enhanced: "4.1.1", text: "later" }],
    ["smtp:", "mx"],
    ["virtual", "own"],
    [":", "own"],
  ];
  for (const [value, wanted] of rows) {
    const parsed = parseTransport(value);
    assert.ok(parsed.ok, value);
    assert.deepEqual(parsed.value.kind === "delivery" ? parsed.value.delivery : parsed.value.kind, wanted, value);
  }
  for (const value of ["pipe:x", "smtp:[a b]", "smtp:a:99999", "lmtp:", "smtp:[a/b]"])
    assert.equal(parseTransport(value).ok, false, value);
});

test("TLS policies, as tables and MTA-STS resolvers write them", () => {
  const fingerprint = "ab:".repeat(31) + "cd";
  const rows: [value: string, wanted: object][] = [
    ["may", { level: "May", match: [], fingerprints: [] }],
    ["secure,match=mx.strict.example", { level: "Secure", match: ["mx.strict.example"], fingerprints: [] }],
    [
      "secure match=mx1.example:.mx.example servername=hostname",
      { level: "Secure", match: ["mx1.example", ".mx.example"], fingerprints: [] },
    ],
    [
      "Encrypt protocols=>=TLSv1.2 ciphers=high",
      { level: "Encrypt", match: [], minVersion: "TLSv1.2", fingerprints: [] },
    ],
    ["encrypt protocols=!SSLv2:!SSLv3", { level: "Encrypt", match: [], fingerprints: [] }],
    [
      "encrypt protocols=TLSv1.3 exclude=aNULL:RC4",
      { level: "Encrypt", match: [], minVersion: "TLSv1.3", ciphers: "DEFAULT:!aNULL:!RC4", fingerprints: [] },
    ],
    [
      `fingerprint match=${fingerprint}|${"0".repeat(64)}`,
      { level: "Fingerprint", match: [], fingerprints: ["ab".repeat(31) + "cd", "0".repeat(64)] },
    ],
    ["dane-only", { level: "DANEOnly", match: [], fingerprints: [] }],
  ];
  for (const [value, wanted] of rows) {
    const parsed = parseTlsPolicy(value);
    assert.ok(parsed.ok, value);
    assert.deepEqual(parsed.value, wanted, value);
  }
  for (const value of [
    "",
    "sometimes",
    "secure strange=1",
    "fingerprint",
    "fingerprint match=xx",
    "encrypt protocols=!TLSv1:!TLSv1.1:!TLSv1.2:!TLSv1.3",
  ])
    assert.equal(parseTlsPolicy(value).ok, false, value);
});

test("property: whatever a table says, it fits the server's own schema or is refused", () => {
  const word = fc.oneof(
    fc.constantFrom(
      "smtp",
      "lmtp",
      "error",
      "retry",
      ":",
      "[",
      "]",
      "a.example",
      "25",
      " ",
      "unix:/x",
      "secure",
      "fingerprint",
      "match=",
      "protocols=",
      ">=TLSv1.2",
      "exclude=",
      ",",
      "ü",
    ),
    fc.string({ maxLength: 4 }),
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 8 }), (words) => {
      const value = words.join("");
      const transport = parseTransport(value);
      if (transport.ok && transport.value.kind === "delivery") deliverySchema.parse(transport.value.delivery);
      const policy = parseTlsPolicy(value);
      if (policy.ok) tlsPolicyEntrySchema.parse(policy.value);
    }),
    { numRuns: 1000 },
  );
});
