/**
 * Every parser of strangers' input, with what must hold of its answer whatever comes in.
 *
 * A parser that throws, that answers differently when its input is cut elsewhere, or that lets through what it promises to keep out is a failure. Where there is a
 * short obvious way to say what the answer must be, that is written beside it as a model. Each entry is one property; fuzz.ts runs them.
 */
import assert from "node:assert/strict";
import { isIP } from "node:net";
import dnsPacket from "dns-packet";
import fc from "fast-check";
import { authLine, parseLine } from "../../server/auth/dovecot-protocol.ts";
import { escapeFilterValue } from "../../server/auth/ldap-filter.ts";
import { parsePasswordHash } from "../../server/auth/password-hash.ts";
import { beginSasl, isUsername, loginMechanism, plainMechanism, type SaslStep } from "../../server/auth/sasl.ts";
import { parseClientFinal, parseClientFirst } from "../../server/auth/scram.ts";
import { addressKey, domainKey } from "../../server/config/address.ts";
import { ChunkDecoder } from "../../server/content/chunk-decoder.ts";
import { DataDecoder } from "../../server/content/data-decoder.ts";
import { fieldsOf, HeaderCollector, readHeader } from "../../server/content/header.ts";
import { receivedField } from "../../server/content/trace.ts";
import { actionOf } from "../../server/delegate/connection.ts";
import { attributeValue } from "../../server/delegate/attributes.ts";
import { DotStuffing } from "../../server/deliver/dot-stuffing.ts";
import { parsePeerReply } from "../../server/deliver/peer-reply.ts";
import { decodeAnswer, encodeQuery, isQueryName } from "../../server/dns/wire.ts";
import { field, fieldText } from "../../server/dsn/mime.ts";
import { decodeXtext, encodeXtext, originalAddress } from "../../server/dsn/typed-address.ts";
import { plainName } from "../../server/dns/reverse.ts";
import { parseProxyHeader } from "../../server/listen/proxy-header.ts";
import { encodeNetstring, NetstringError, NetstringReader } from "../../server/lookup/netstring.ts";
import { clientGroup, isInNetworks, plainAddress } from "../../server/policy/networks.ts";
import { parseXclient, parseXforward } from "../../server/session/client-attributes.ts";
import { parseMailParameters, parseRcptParameters } from "../../server/session/parameters.ts";
import { editedHeader } from "../../server/rewrite/header-fields.ts";
import { isDomain, parsePath } from "../../server/session/path.ts";
import { shownLine } from "../../server/session/shown-line.ts";
import { cut, cuts, octets, text } from "./octets.ts";

export interface ParserProperty {
  readonly name: string;
  readonly check: (parameters: { readonly numRuns: number; readonly seed: number }) => void;
}

const properties: ParserProperty[] = [];

function property<T>(name: string, input: fc.Arbitrary<T>, holds: (value: T) => void): void {
  properties.push({
    name,
    check: (parameters) => fc.assert(fc.property(input, holds), { ...parameters, endOnFailure: false }),
  });
}

// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f]/;
const bare = /\r(?!\n)|(?<!\r)\n/;

// --- Commands --------------------------------------------------------------------------------------------------------------------

property("paths", fc.tuple(text(), fc.boolean(), fc.constantFrom("FROM", "TO")), ([given, strict, keyword]) => {
  for (const argument of [
    given,
    `${keyword}:${given}`,
    `${keyword}:<${given}>`,
    `${keyword}:<${given}@example.org> ${given}`,
  ]) {
    const parsed = parsePath(argument, keyword, { strict });
    if (parsed === undefined || parsed.path.address === "") continue;
    const { address, international } = parsed.path;
    assert.doesNotMatch(address, control);
    assert.ok(Buffer.byteLength(address) <= 254);
    // oxlint-disable-next-line no-control-regex
    assert.equal(international, /[^\u0000-\u007f]/.test(address));
    if (address.toLowerCase() === "postmaster") continue;
    assert.ok(
      addressKey(address) !== undefined && addressKey(address) !== `@${domainKey(address.split("@").at(-1) ?? "")}`,
    );
    // What was read once is read the same again: nobody behind us sees another address.
    assert.equal(parsePath(`${keyword}:<${address}>`, keyword, { strict: false })?.path.address, address);
  }
});
property("domains", text(12), (domain) => {
  const key = domainKey(domain);
  if (key !== undefined) assert.equal(domainKey(key), key);
  if (isDomain(domain)) assert.doesNotMatch(domain, control);
});

const keyword = fc.constantFrom("SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH", "NOTIFY", "ORCPT", "X", "");
const parameters = fc
  .array(
    fc.tuple(
      keyword,
      fc.constantFrom("=", "", "=="),
      fc.oneof(text(4), fc.constantFrom("8BITMIME", "FULL", "NEVER", "rfc822;a+40b", "SUCCESS,DELAY", "+0A")),
    ),
    { maxLength: 5 },
  )
  .map((all) => all.map((each) => each.join("")).join(" "));
property("parameters", fc.tuple(parameters, fc.boolean()), ([rest, smtpUtf8]) => {
  const mail = parseMailParameters(rest);
  if (mail.kind === "ok") {
    assert.ok(mail.value.size === undefined || mail.value.size >= 0);
    assert.match(mail.value.envelopeId ?? "x", /^[!-~]{1,100}$/);
  }
  const rcpt = parseRcptParameters(rest, { smtpUtf8 });
  if (rcpt.kind === "ok") {
    assert.doesNotMatch(rcpt.value.originalRecipient ?? "", control);
    assert.ok((rcpt.value.originalRecipient?.length ?? 0) <= 500);
    if (rcpt.value.originalRecipient !== undefined) originalAddress(rcpt.value.originalRecipient);
    if (rcpt.value.notify?.includes("NEVER") === true) assert.equal(rcpt.value.notify.length, 1);
  }
});
property("XCLIENT and XFORWARD", text(), (argument) => {
  for (const prefix of ["", "NAME=", "ADDR=IPV6:", "HELO=", "LOGIN=x PORT="])
    for (const parse of [parseXclient, parseXforward]) {
      const parsed = parse(prefix + argument);
      if (parsed.kind !== "ok") continue;
      for (const [name, value] of parsed.values) {
        assert.match(value ?? "null", /^[!-~]{1,255}$/);
        if (name === "ADDR" && value !== null) assert.notEqual(isIP(value), 0);
      }
    }
});
property(
  "what is shown of a command",
  fc.tuple(text(), fc.base64String({ minLength: 8, maxLength: 40 })),
  ([line, secret]) => {
    for (const verb of ["AUTH PLAIN ", " auth login\t", "AUTHENTICATE ", "XCLIENT LOGIN="])
      assert.ok(!shownLine(Buffer.from(verb + secret), 1000, undefined).includes(secret) || secret.trim() === "");
    shownLine(Buffer.from(line), 100, { has: () => false });
  },
);
property("networks", fc.tuple(text(6), fc.array(text(4), { maxLength: 3 })), ([address, networks]) => {
  assert.equal(isInNetworks([...networks], plainAddress(address)) && isIP(plainAddress(address)) === 0, false);
  clientGroup(address);
});

// --- The message -----------------------------------------------------------------------------------------------------------------

/** RFC 5321 §4.1.1.4, said plainly: everything up to the first CRLF dot CRLF, and a line start at the beginning. */
function dataModel(stream: Buffer): { readonly content: string; readonly consumed: number } | undefined {
  const whole = `\r\n${stream.toString("latin1")}`;
  const end = whole.indexOf("\r\n.\r\n");
  if (end < 0) return undefined;
  return {
    content: whole
      .slice(0, end + 2)
      .replaceAll("\r\n.", "\r\n")
      .slice(2),
    consumed: end + 3,
  };
}
property("DATA", fc.tuple(octets(40), cuts, fc.boolean()), ([body, at, ends]) => {
  const stream = ends ? Buffer.concat([body, Buffer.from("\r\n.\r\nQUIT\r\n")]) : body;
  const decoder = new DataDecoder();
  const got: Buffer[] = [];
  let consumed = 0;
  let ended = false;
  for (const chunk of cut(stream, at)) {
    const end = decoder.feed(chunk, got);
    if (end >= 0) {
      consumed += end;
      ended = true;
      break;
    }
    consumed += chunk.length;
  }
  const model = dataModel(stream);
  assert.equal(ended, model !== undefined);
  if (model === undefined) return;
  assert.equal(consumed, model.consumed);
  const content = Buffer.concat(got).toString("latin1");
  assert.equal(content, model.content);
  const faulty = bare.test(stream.subarray(0, consumed).toString("latin1")) || content.includes("\0");
  assert.equal(decoder.fault !== undefined, faulty);
});
property("BDAT", fc.tuple(fc.array(octets(10), { maxLength: 4 }), cuts), ([chunks, at]) => {
  const decoder = new ChunkDecoder();
  const got: Buffer[] = [];
  for (const chunk of chunks.filter(({ length }) => length > 0)) {
    decoder.expect(chunk.length);
    let left = chunk.length;
    for (const piece of cut(Buffer.concat([chunk, Buffer.from("QUIT\r\n")]), at)) {
      const end = decoder.feed(piece, got);
      if (piece.length === 0) continue;
      if (end >= 0) {
        assert.equal(end, left);
        left = 0;
        break;
      }
      left -= piece.length;
    }
    assert.equal(left, 0);
  }
  const last = decoder.end();
  const content = Buffer.concat(chunks).toString("latin1");
  assert.equal(Buffer.concat(got).toString("latin1"), content);
  assert.equal(decoder.fault !== undefined, bare.test(content) || content.includes("\0"));
  if (decoder.fault === undefined && content !== "") assert.ok((content + (last?.toString() ?? "")).endsWith("\r\n"));
});
property("outgoing DATA", fc.tuple(octets(40), cuts), ([message, at]) => {
  const stuffing = new DotStuffing();
  const sent = Buffer.concat([...cut(message, at).flatMap((chunk) => [...stuffing.push(chunk)]), stuffing.end()]);
  const wire = sent.toString("latin1");
  assert.doesNotMatch(wire, bare);
  assert.ok(!wire.includes("\0"));
  // One end, at the end; and the receiver gets what we have, its line ends repaired.
  assert.equal(dataModel(sent)?.consumed, sent.length);
  const repaired = message
    .toString("latin1")
    .replaceAll("\0", "")
    .replaceAll(/\r\n|\r|\n/g, "\r\n");
  const closed = repaired === "" || repaired.endsWith("\r\n") ? repaired : `${repaired}\r\n`;
  assert.equal(dataModel(sent)?.content, closed);
});
property("header", fc.tuple(octets(40), cuts), ([message, at]) => {
  const collector = new HeaderCollector();
  let found: Buffer | undefined;
  for (const piece of cut(message, at)) {
    const taken = collector.take(piece);
    if (taken === undefined) continue;
    found = taken.header;
    break;
  }
  const whole = message.toString("latin1");
  const end = `\r\n${whole}`.indexOf("\r\n\r\n");
  assert.equal(found?.toString("latin1"), end < 0 ? undefined : whole.slice(0, end + 2));
  const header = found ?? message;
  const summary = readHeader(header);
  assert.ok(summary.fieldsEnd <= header.length);
  assert.match(summary.messageId ?? "x", /^[!-~]{1,255}$/);
  let before = 0;
  for (const { name, start, valueStart, end: fieldEnd } of fieldsOf(header.toString("latin1"))) {
    assert.equal(start, before);
    assert.ok(start < valueStart && valueStart <= fieldEnd && name.length > 0);
    before = fieldEnd;
  }
});
property(
  "addresses in a header",
  fc.tuple(octets(), octets(), fc.constantFrom("From", "To", "Resent-Cc", "X-Other")),
  ([one, other, name]) => {
    const header = Buffer.concat([
      Buffer.from(`${name}: `),
      Buffer.from(one.toString("latin1").replaceAll(/[\r\n\0]+/g, "\r\n "), "latin1"),
      Buffer.from(", a@example.org\r\nTo: "),
      Buffer.from(other.toString("latin1").replaceAll(/[\r\n\0]+/g, " "), "latin1"),
      Buffer.from("\r\n"),
    ]);
    const namesOf = (text: Buffer): string[] => [...fieldsOf(text.toString("latin1"))].map((each) => each.name);
    const same = editedHeader(header, { rewrite: (address) => ({ kind: "address", address }) });
    assert.ok(same.kind === "header" && same.header.equals(header), "nothing is to be changed");
    const moved = editedHeader(header, { rewrite: () => ({ kind: "address", address: "moved@example.net" }) });
    assert.ok(moved.kind === "header");
    // The same fields in the same order, none begun by an address.
    assert.deepEqual(namesOf(moved.header), namesOf(header));
    assert.doesNotMatch(moved.header.toString("latin1"), bare);
  },
);
property("our Received field", fc.tuple(text(), text(), text(), text()), ([helo, user, name, recipient]) => {
  const parsed = parsePath(`TO:<${recipient}@example.org>`, "TO", { strict: false });
  const received = receivedField({
    helo,
    extended: true,
    clientName: plainName(name),
    clientAddress: "192.0.2.1",
    hostname: "mx.example.org",
    id: "Q1",
    tls: undefined,
    tellsTls: true,
    asksCertificate: false,
    authenticated: true,
    authenticatedAs: user,
    smtpUtf8: false,
    recipients: parsed === undefined ? [] : [parsed.path.address],
    receivedMs: 0,
    hidesClient: false,
  });
  // One field: nothing that a client said begins another one.
  assert.match(received, /^Received: [^\r\n]*(?:\r\n\t[^\r\n]+)*\r\n$/);
  assert.doesNotMatch(received.replaceAll("\r\n\t", ""), /[\0\t]|\r(?!\n$)/);
  for (const line of received.split("\r\n")) assert.ok(Buffer.byteLength(line) <= 998);
});
property("fields of reports", fc.tuple(text(), fc.boolean()), ([value, utf8]) => {
  assert.doesNotMatch(fieldText(value, utf8), /[\r\n\0]/);
  for (const line of field("Diagnostic-Code", fieldText(value, utf8)).split("\r\n").slice(1))
    assert.match(line, /^ \S/);
  assert.equal(decodeXtext(encodeXtext(value.toWellFormed())), value.toWellFormed().replaceAll("\ufffd", "?"));
});

// --- Authentication --------------------------------------------------------------------------------------------------------------

const mechanisms = new Map([
  ["PLAIN", plainMechanism],
  ["LOGIN", loginMechanism],
]);
const response = fc.oneof(
  text(6),
  text(6).map((value) => Buffer.from(value).toString("base64")),
  fc.tuple(text(3), text(3), text(3)).map((parts) => Buffer.from(parts.join("\0")).toString("base64")),
  fc.constantFrom("*", "=", ""),
);
property(
  "SASL",
  fc.tuple(fc.constantFrom("PLAIN", "LOGIN", "plain", "X"), fc.array(response, { maxLength: 4 })),
  ([mechanism, lines]) => {
    const [first, ...others] = lines;
    let step = beginSasl(first === undefined ? mechanism : `${mechanism} ${first}`, mechanisms);
    assert.ok(!(step instanceof Promise));
    for (const line of others) {
      const now: SaslStep = step;
      if (now.kind !== "ask") break;
      step = now.next(line);
    }
    if (step.kind === "credentials") assert.ok(step.username === "" || isUsername(step.username));
  },
);
property("SCRAM", fc.tuple(text(), text()), ([one, other]) => {
  for (const message of [one, `n,,n=${one},r=${other}`, `p=${one},,n=a,r=${other}`, `c=biws,r=${one},p=${other}`]) {
    const first = parseClientFirst(message);
    if (first !== undefined) assert.match(first.nonce, /^[!-+\--~]{1,512}$/);
    parseClientFinal(message);
  }
});
property("stored passwords", text(), (stored) => {
  for (const each of [
    stored,
    `{SSHA}${stored}`,
    `$argon2id$v=19$m=${stored}`,
    `{SCRAM-SHA-256}${stored}`,
    `$6$rounds=${stored}`,
  ])
    parsePasswordHash(each);
});
property("LDAP filters", text(), (value) => {
  assert.doesNotMatch(escapeFilterValue(value), /[()*\0]/);
});
property("Dovecot's answers", text(), (line) => {
  for (const each of [line, `OK\t1\tuser=${line}`, `FAIL\t1\t${line}`, `CONT\t1\t${line}`, `MECH\t${line}`]) {
    const parsed = parseLine(each);
    if (parsed?.kind === "continue") assert.match(parsed.data, /^[A-Za-z0-9+/=]*$/);
  }
  const written = authLine({
    id: 1,
    mechanism: line,
    remoteAddress: line,
    remotePort: 1,
    localAddress: line,
    response: line,
  });
  assert.equal(written.indexOf("\n"), written.length - 1);
  assert.equal(written.split("\t").length, 10);
});

// --- Peers -----------------------------------------------------------------------------------------------------------------------

property("replies of other servers", octets(), (raw) => {
  for (const each of [
    raw.toString("utf8"),
    `250-${raw.toString("latin1")}\r\n250 ok`,
    `550 5.1.1 ${raw.toString("utf8")}`,
  ]) {
    const { code, enhanced, text: said } = parsePeerReply(each);
    assert.ok(code >= 200 && code < 600);
    assert.match(enhanced, /^(?:[245]\.\d{1,3}\.\d{1,3})?$/);
    assert.ok(said.length <= 1100);
    assert.doesNotMatch(said.replaceAll("\n", ""), /\p{Cc}/u);
  }
});
property("PROXY headers", fc.tuple(octets(), cuts, fc.boolean()), ([rest, at, isBinary]) => {
  const signature = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
  for (const stream of [rest, Buffer.concat([isBinary ? signature : Buffer.from("PROXY TCP4 "), rest])]) {
    const whole = parseProxyHeader(stream);
    if (whole.kind === "header") {
      assert.ok(whole.length <= stream.length);
      if (whole.source !== undefined) assert.notEqual(isIP(whole.source.address), 0);
    }
    // Octet by octet it is the same header, or bad for the same reason.
    let seen = Buffer.alloc(0);
    for (const chunk of cut(stream, at)) {
      seen = Buffer.concat([seen, chunk]);
      const header = parseProxyHeader(seen);
      if (header.kind === "more") continue;
      if (whole.kind === "header") assert.deepEqual(header, whole);
      else assert.equal(header.kind, whole.kind);
      break;
    }
  }
});
const dnsAnswer = fc
  .record({
    name: fc.domain(),
    data: fc.ipV4(),
    ttl: fc.nat(),
    flips: fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 4 }),
  })
  .map(({ name, data, ttl, flips }) => {
    const packet = dnsPacket.encode({
      type: "response",
      id: 7,
      questions: [{ type: "A", name: "a.example" }],
      answers: [
        { type: "CNAME", name: "a.example", data: name },
        { type: "A", name, ttl, data },
      ],
    });
    for (const [at, value] of flips) if (at < packet.length) packet[at] = value;
    return packet;
  });
property("DNS answers", fc.oneof(dnsAnswer, octets(40)), (packet) => {
  for (const type of ["A", "AAAA", "MX", "TXT", "PTR"] as const) {
    const answer = decodeAnswer(packet, 7, "a.example", type);
    for (const address of answer?.addresses ?? []) assert.notEqual(isIP(address), 0);
    assert.ok((answer?.exchanges.length ?? 0) <= 200);
  }
});
property("DNS questions", text(8), (name) => {
  if (isQueryName(name)) encodeQuery(1, name, "A");
});
property("netstrings", fc.tuple(octets(), text(6), cuts), ([raw, content, at]) => {
  for (const stream of [raw, Buffer.concat([encodeNetstring(content), raw])]) {
    const read = (chunks: readonly Buffer[]): { readonly frames: string[]; readonly failed: boolean } => {
      const reader = new NetstringReader(1000);
      const frames: string[] = [];
      try {
        for (const chunk of chunks) for (const frame of reader.push(chunk)) frames.push(frame.toString("latin1"));
      } catch (error) {
        assert.ok(error instanceof NetstringError);
        return { frames, failed: true };
      }
      return { frames, failed: false };
    };
    const [whole, parts] = [read([stream]), read(cut(stream, at))];
    assert.equal(parts.failed, whole.failed);
    if (!whole.failed) assert.deepEqual(parts.frames, whole.frames);
  }
});
property("policy services", text(), (value) => {
  assert.doesNotMatch(attributeValue(value), /[\r\n\0]/);
  const action = actionOf(value);
  if (action !== undefined) assert.doesNotMatch(action, /\n/);
  actionOf(`action=${value}\n\n`);
});

export const parserProperties: readonly ParserProperty[] = properties;
