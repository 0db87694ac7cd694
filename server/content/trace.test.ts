import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readHeader } from "./header.ts";
import { mailDate, missingFields, protocolName, receivedField, type Trace } from "./trace.ts";

const trace: Trace = {
  helo: "client.example.net",
  extended: true,
  clientName: "client.example.net",
  clientAddress: "192.0.2.1",
  hostname: "mx.example.org",
  id: "Q1",
  tls: undefined,
  tellsTls: true,
  asksCertificate: false,
  authenticated: false,
  authenticatedAs: undefined,
  smtpUtf8: false,
  recipients: ["alice@example.org"],
  hidesClient: false,
  receivedMs: Date.UTC(2026, 0, 2, 3, 4, 5),
};
const tls = {
  protocol: "TLSv1.3",
  cipher: "TLS_AES_256_GCM_SHA384",
  bits: 256,
  servername: undefined,
  clientCertificate: undefined,
};
const at = "Fri, 2 Jan 2026 03:04:05 +0000";

const table: readonly (readonly [string, Partial<Trace>, string])[] = [
  [
    "plain",
    {},
    `Received: from client.example.net (client.example.net [192.0.2.1])\r\n\tby mx.example.org (Packetboat) with ESMTP id Q1\r\n\tfor <alice@example.org>;\r\n\t${at}\r\n`,
  ],
  [
    "no name",
    { clientName: undefined, extended: false },
    `Received: from client.example.net (unknown [192.0.2.1])\r\n\tby mx.example.org (Packetboat) with SMTP id Q1\r\n\tfor <alice@example.org>;\r\n\t${at}\r\n`,
  ],
  [
    "IPv6",
    { clientAddress: "2001:db8::1", helo: "[IPv6:2001:db8::1]" },
    `Received: from [IPv6:2001:db8::1] (client.example.net [IPv6:2001:db8::1])\r\n\tby mx.example.org (Packetboat) with ESMTP id Q1\r\n\tfor <alice@example.org>;\r\n\t${at}\r\n`,
  ],
  [
    "TLS, no certificate though asked",
    { tls, asksCertificate: true, authenticated: true },
    `Received: from client.example.net (client.example.net [192.0.2.1])\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n\t(no client certificate presented)\r\n\tby mx.example.org (Packetboat) with ESMTPSA id Q1\r\n\tfor <alice@example.org>;\r\n\t${at}\r\n`,
  ],
  [
    "the user, where the listener tells it",
    { authenticated: true, authenticatedAs: "al(i)ce@example.org" },
    `Received: from client.example.net (client.example.net [192.0.2.1])\r\n\t(Authenticated sender: al?i?ce@example.org)\r\n\tby mx.example.org (Packetboat) with ESMTPA id Q1\r\n\tfor <alice@example.org>;\r\n\t${at}\r\n`,
  ],
  [
    "TLS that is not told",
    { tls, tellsTls: false },
    `Received: from client.example.net (client.example.net [192.0.2.1])\r\n\tby mx.example.org (Packetboat) with ESMTPS id Q1\r\n\tfor <alice@example.org>;\r\n\t${at}\r\n`,
  ],
  [
    "two recipients, blind",
    { recipients: ["a@example.org", "b@example.org"] },
    `Received: from client.example.net (client.example.net [192.0.2.1])\r\n\tby mx.example.org (Packetboat) with ESMTP id Q1;\r\n\t${at}\r\n`,
  ],
  [
    "a hostile HELO",
    { helo: "a)\t(b\\;<c>" },
    `Received: from a???b???c? (client.example.net [192.0.2.1])\r\n\tby mx.example.org (Packetboat) with ESMTP id Q1\r\n\tfor <alice@example.org>;\r\n\t${at}\r\n`,
  ],
];
for (const [name, change, expected] of table)
  test(`Received: ${name}`, () => assert.equal(receivedField({ ...trace, ...change }), expected));

test("whatever HELO says, it stays one field", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 400, unit: "binary" }), (helo) => {
      const field = receivedField({ ...trace, helo });
      const header = readHeader(Buffer.from(`${field}\r\n`));
      assert.equal(header.received, 1);
      assert.equal(header.fieldsEnd, Buffer.byteLength(field));
      assert.ok(field.split("\r\n").every((line) => line.length <= 998));
    }),
  );
});

test("with", () => {
  const name = (extended: boolean, secure: boolean, authenticated: boolean, smtpUtf8: boolean): string =>
    protocolName({ extended, secure, authenticated, smtpUtf8 });
  assert.equal(name(false, false, false, false), "SMTP");
  assert.equal(name(false, true, false, false), "SMTP");
  assert.equal(name(true, true, false, false), "ESMTPS");
  assert.equal(name(true, false, true, false), "ESMTPA");
  assert.equal(name(true, true, true, true), "UTF8SMTPSA");
});

test("dates", () => {
  assert.equal(mailDate(0), "Thu, 1 Jan 1970 00:00:00 +0000");
  assert.equal(mailDate(Date.UTC(2028, 1, 29, 23, 59, 59)), "Tue, 29 Feb 2028 23:59:59 +0000");
});

test("missing fields", () => {
  const facts = { receivedMs: 0, id: "Q1", hostname: "mx.example.org", sender: "alice@example.org" };
  const read = (text: string): string => missingFields(readHeader(Buffer.from(text)), facts);
  assert.equal(
    read("\r\n"),
    "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <Q1@mx.example.org>\r\nFrom: <alice@example.org>\r\n",
  );
  assert.equal(read("DATE: x\r\nmessage-id:\r\n <1@b>\r\nfrom : c\r\n\r\n"), "");
  assert.equal(
    missingFields(readHeader(Buffer.from("Date: x\r\nMessage-ID: <1@b>\r\n\r\n")), { ...facts, sender: "" }),
    "",
  );
});

const ids: readonly (readonly [string, string | undefined])[] = [
  ["Message-ID: <1@example.com>\r\n\r\n", "<1@example.com>"],
  ["Message-ID:\r\n\t<1@example.com> (comment)\r\n\r\n", "<1@example.com>"],
  ["Message-ID:\r\n\r\n<not@header>\r\n", undefined],
  ["Subject: x\r\n Message-ID: <folded@example.com>\r\n\r\n", undefined],
  [`Message-ID: ${"x".repeat(5000)}\r\n\r\n`, "x".repeat(255)],
];
for (const [text, id] of ids)
  test(`the message-id of ${JSON.stringify(text).slice(0, 50)}`, () =>
    assert.equal(readHeader(Buffer.from(text)).messageId, id));

test("any header is read without a throw, and ends within itself", () => {
  const line = fc.constantFrom(
    "Received: x\r\n",
    "Date: y\r\n",
    " folded\r\n",
    "no field\r\n",
    ":\r\n",
    "A:\r\n",
    "\r\n",
    "x",
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
      const header = Buffer.from(lines.join(""));
      const { fieldsEnd } = readHeader(header);
      assert.ok(fieldsEnd >= 0 && fieldsEnd <= header.length);
    }),
  );
});
