import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import fc from "fast-check";
import { aMessage, aRecipient, contentOf } from "../deliver/outbound-fixture.ts";
import { field, fieldText } from "./mime.ts";
import { type ReportRequest, reportOn } from "./report.ts";

const original = "From: Sender <s@example.org>\r\nSubject: hello\r\n\r\nBody line\r\n";
const failedRecipient = {
  recipient: aRecipient("bob@remote.test", { originalRecipient: "rfc822;list+2Bx@example.org" }),
  action: "failed" as const,
  reply: { code: 550, enhanced: "5.1.1", text: "No such user\nhere" },
  remoteHost: "mail.remote.test[192.0.2.9]",
};
const request = (more: Partial<ReportRequest> = {}): ReportRequest => ({
  kind: "failed",
  audience: "sender",
  mayReturnAll: true,
  hostname: "mx.example.org",
  message: aMessage(["bob@remote.test"], {
    receivedMs: Date.UTC(2026, 0, 2, 3, 4, 5),
    envelope: { envelopeId: "QQ+2B7" },
  }),
  recipients: [failedRecipient],
  nowMs: Date.UTC(2026, 0, 3),
  giveUpMs: Date.UTC(2026, 0, 7),
  to: [{ address: "sender@example.org" }],
  content: contentOf(original),
  ...more,
});

/** What Python's email package understands of it: an independent reader. */
const reader = `
import sys, json, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
def groups(part):
    return [[(k, str(v)) for k, v in g.items()] for g in part.get_payload()]
parts = m.get_payload()
kinds = [p.get_content_type() for p in parts]
status = groups(parts[1]) if kinds[1] == 'message/delivery-status' else parts[1].as_bytes().decode('utf-8', 'replace')
last = parts[2].get_payload()
print(json.dumps({
  'headers': {k: str(v) for k, v in m.items()},
  'type': m.get_content_type(), 'report': m.get_param('report-type'),
  'kinds': kinds, 'text': parts[0].get_content(), 'status': status,
  'returned': last[0].get_payload() if isinstance(last, list) else last,
  'returnedSubject': last[0]['subject'] if isinstance(last, list) else None,
  'defects': [str(d) for p in m.walk() for d in p.defects]}))
`;
interface Read {
  readonly headers: Record<string, string>;
  readonly type: string;
  readonly report: string;
  readonly kinds: string[];
  readonly text: string;
  readonly status: [string, string][][] | string;
  readonly returned: string;
  readonly returnedSubject: string | null;
  readonly defects: string[];
}
async function read(content: Buffer): Promise<Read> {
  const running = promisify(execFile)("python3", ["-c", reader]);
  running.child.stdin?.end(content);
  return JSON.parse((await running).stdout) as Read;
}
const hasPython = await promisify(execFile)("python3", ["--version"]).then(
  () => true,
  () => false,
);
const python = { skip: hasPython ? false : "python3 is not here" };

test("a failure report, read back by another mail reader", python, async () => {
  const { content, envelope } = await reportOn(request());
  assert.equal(envelope.sender, "");
  assert.deepEqual(envelope.recipients, [{ address: "sender@example.org", notify: ["NEVER"] }]);
  const report = await read(content);
  assert.deepEqual(report.defects, []);
  assert.equal(report.type, "multipart/report");
  assert.equal(report.report, "delivery-status");
  assert.deepEqual(report.kinds, ["text/plain", "message/delivery-status", "message/rfc822"]);
  assert.equal(report.headers["From"], "MAILER-DAEMON@mx.example.org");
  assert.ok(content.includes("\r\nFrom: MAILER-DAEMON@mx.example.org (Mail Delivery System)\r\n"));
  assert.equal(report.headers["Auto-Submitted"], "auto-replied");
  assert.equal(report.headers["Message-ID"], "<0TestQueueId1.failed.0.1@mx.example.org>");
  assert.equal(report.headers["Date"], "Sat, 03 Jan 2026 00:00:00 +0000");
  assert.equal(
    report.text.replaceAll("\r\n", "\n"),
    `This is the mail system at host mx.example.org.

Your message of Fri, 02 Jan 2026 03:04:05 +0000 could not be delivered
to the recipient below. Nothing more will be tried. What you sent, or
its header, is attached.

<bob@remote.test>
    (you wrote to <list+x@example.org>)
    There is no mailbox with this address.
    The server mail.remote.test[192.0.2.9] said: 550 5.1.1 No such user
    here
    What you can do: check the address for typing mistakes, or ask the
    person for the current one.

If you need help, send this report to your postmaster. The message is
known here as 0TestQueueId1.
`,
  );
  assert.deepEqual(report.status, [
    [
      ["Reporting-MTA", "dns; mx.example.org"],
      ["Original-Envelope-Id", "QQ+7"],
      ["X-Packetboat-Queue-ID", "0TestQueueId1"],
      ["X-Packetboat-Sender", "rfc822; sender@example.org"],
      ["Received-From-MTA", "dns; client.test ([192.0.2.1])"],
      ["Arrival-Date", "Fri, 02 Jan 2026 03:04:05 +0000"],
    ],
    [
      ["Original-Recipient", "rfc822; list+x@example.org"],
      ["Final-Recipient", "rfc822; bob@remote.test"],
      ["Action", "failed"],
      ["Status", "5.1.1"],
      ["Remote-MTA", "dns; mail.remote.test"],
      ["Diagnostic-Code", "smtp; 550 5.1.1 No such user here"],
      ["Last-Attempt-Date", "Sat, 03 Jan 2026 00:00:00 +0000"],
    ],
  ]);
  assert.equal(report.returnedSubject, "hello");
  assert.equal(report.returned.trim(), "Body line");
});

test("a delay report says until when, and returns the header only", python, async () => {
  const delayed = {
    ...failedRecipient,
    action: "delayed" as const,
    reply: { code: 451, enhanced: "4.4.1", text: "connect: refused" },
  };
  const { content } = await reportOn(request({ kind: "delayed", recipients: [delayed], mayReturnAll: false }));
  const report = await read(content);
  assert.equal(report.kinds[2], "text/rfc822-headers");
  assert.ok(
    Array.isArray(report.status) &&
      report.status[1]?.some(
        ([name, value]) => name === "Will-Retry-Until" && value === "Wed, 07 Jan 2026 00:00:00 +0000",
      ),
  );
  assert.match(report.text, /need\s+not send it again/);
  assert.ok(!content.includes("Body line"));
});

test("RET=HDRS and large messages return the header only, and reading stops early", async () => {
  const headers = await reportOn(request({ message: aMessage(["b@x.test"], { envelope: { return: "HDRS" } }) }));
  assert.ok(headers.content.includes("Subject: hello") && !headers.content.includes("Body line"));
  let chunks = 0;
  async function* endless(): AsyncGenerator<Buffer> {
    yield await Promise.resolve(Buffer.from(original));
    for (;;) {
      chunks += 1;
      yield Buffer.alloc(65_536, "x");
    }
  }
  const large = await reportOn(request({ content: endless() }));
  assert.ok(chunks <= 2);
  assert.ok(
    large.content.length < 60_000 &&
      large.content.includes("text/rfc822-headers") &&
      large.content.includes("Subject: hello"),
  );
});

test("a time-out is 4.4.7 with the last reply as the diagnosis", async () => {
  const { content } = await reportOn(
    request({ recipients: [{ ...failedRecipient, reply: { code: 451, enhanced: "4.4.1", text: "refused" } }] }),
  );
  assert.match(content.toString(), /\r\nStatus: 4\.4\.7\r\n/);
  assert.match(content.toString(), /\r\nDiagnostic-Code: smtp; 451 4\.4\.1 refused\r\n/);
});

test("internationalized addresses take the global forms", python, async () => {
  const recipient = aRecipient("jürgen@bücher.test");
  const { content, envelope } = await reportOn(
    request({
      message: aMessage(["x@x.test"], { envelope: { smtpUtf8: true } }),
      recipients: [{ ...failedRecipient, recipient }],
      content: contentOf("Subject: ü\r\n\r\nx\r\n"),
    }),
  );
  assert.equal(envelope.smtpUtf8, true);
  assert.equal(envelope.body, "8BITMIME");
  const report = await read(content);
  assert.deepEqual(report.kinds, ["text/plain", "message/global-delivery-status", "message/global"]);
  assert.equal(report.report, "global-delivery-status");
  assert.ok(typeof report.status === "string" && report.status.includes("Final-Recipient: utf-8; jürgen@bücher.test"));
});

test(
  "a sender without SMTPUTF8 gets an internationalized address in ASCII, and nothing but ASCII",
  python,
  async () => {
    const recipient = aRecipient("jürgen@bücher.test", { originalRecipient: "rfc822;alias@example.org" });
    const reply = { code: 550, enhanced: "5.1.1", text: "Unbekannter Empfänger" };
    const { content, envelope } = await reportOn(request({ recipients: [{ ...failedRecipient, recipient, reply }] }));
    assert.equal(envelope.smtpUtf8, false);
    assert.equal(envelope.body, "7BIT");
    assert.ok(content.every((byte) => byte < 0x80));
    const report = await read(content);
    assert.deepEqual(report.kinds, ["text/plain", "message/delivery-status", "message/rfc822"]);
    const fields = Object.fromEntries(report.status[1] as [string, string][]);
    assert.equal(fields["Final-Recipient"], "utf-8; j\\x{FC}rgen@b\\x{FC}cher.test");
    assert.equal(fields["Original-Recipient"], "rfc822; alias@example.org");
  },
);

test("SMTPUTF8 alone changes nothing where all is ASCII", async () => {
  const { content, envelope } = await reportOn(
    request({ message: aMessage(["x@x.test"], { envelope: { smtpUtf8: true } }) }),
  );
  assert.equal(envelope.smtpUtf8, false);
  assert.match(content.toString(), /report-type=delivery-status;/);
});

test("the same report has the same bytes, and a hostile reply opens no field or part", async () => {
  const first = await reportOn(request());
  const second = await reportOn(request({ content: contentOf(original) }));
  assert.deepEqual(first.content, second.content);
  const boundary = /boundary="([^"]+)"/.exec(first.content.toString())?.[1] ?? "";
  const hostile = `550 x\r\nBcc: victim@x.test\r\n\r\n--${boundary}\r\nContent-Type: text/html`;
  const { content } = await reportOn(
    request({
      recipients: [{ ...failedRecipient, reply: { code: 550, enhanced: "5.0.0", text: hostile } }],
      content: contentOf(`Subject: ${boundary}\r\n\r\n--${boundary}--\r\n`),
    }),
  );
  const lines = content.toString().split("\r\n");
  assert.ok(!lines.some((line) => line.startsWith("Bcc:") || line.startsWith("Content-Type: text/html")));
  const own = /boundary="([^"]+)"/.exec(content.toString())?.[1] ?? "";
  assert.notEqual(own, boundary);
  assert.equal(lines.filter((line) => line.startsWith(`--${own}`)).length, 4);
  assert.ok(lines.every((line) => line.length < 998));
});

test("fields fold, stay ASCII where they must, and lose what could break a line", () => {
  assert.equal(fieldText("a\r\nb\0c é", false), "a b c ?");
  assert.equal(fieldText("é", true), "é");
  assert.ok(
    field("X", "word ".repeat(60))
      .split("\r\n")
      .every((line) => line.length <= 76),
  );
  assert.ok(field("X", "y".repeat(5000)).length < 998);
});

/** Texts made of what would be dangerous if it came through as it is. */
const hostileText = fc
  .array(
    fc.oneof(
      fc.constantFrom("\r\n", "\n", "\r", "\0", "\u2028", "\u0085", "--", "=_", " ", "\t", "\r\n\r\n"),
      fc.constantFrom("Bcc: x@y.test", "Content-Type: text/html", "Action: delivered", "+0D+0A", "\\x{0D}\\x{0A}", ";"),
      fc.string({ unit: "binary", maxLength: 8 }),
      fc.constantFrom("x".repeat(1200), "ü".repeat(600)),
    ),
    { maxLength: 10 },
  )
  .map((pieces) => pieces.join(""));

const perMessage = new Set(
  "reporting-mta original-envelope-id x-packetboat-queue-id x-packetboat-sender received-from-mta arrival-date".split(
    " ",
  ),
);
const perRecipient = new Set(
  "original-recipient final-recipient action status remote-mta diagnostic-code last-attempt-date will-retry-until".split(
    " ",
  ),
);
const headerFields = new Set(
  "date from to subject message-id in-reply-to references auto-submitted mime-version content-transfer-encoding content-type".split(
    " ",
  ),
);
/** Names of the fields of a block, folded lines taken into account; undefined for a line that is neither. */
const namesOf = (block: string): (string | undefined)[] =>
  block.split("\r\n").flatMap((line) => (/^[ \t]/.test(line) ? [] : [/^([A-Za-z-]+):/.exec(line)?.[1]?.toLowerCase()]));

test("whatever strangers say, a report has the same parts and fields", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        address: hostileText,
        orcpt: fc.option(hostileText, { nil: undefined }),
        envid: fc.option(hostileText, { nil: undefined }),
        sender: hostileText,
        helo: hostileText,
        enhanced: hostileText,
        text: hostileText,
        remoteHost: fc.option(hostileText, { nil: undefined }),
        content: hostileText,
        smtpUtf8: fc.boolean(),
        kind: fc.constantFrom("failed" as const, "delayed" as const, "cleared" as const, "success" as const),
        audience: fc.constantFrom("sender" as const, "postmaster" as const),
      }),
      async (hostile) => {
        const { content } = await reportOn(
          request({
            kind: hostile.kind,
            audience: hostile.audience,
            message: aMessage(["x@x.test"], {
              origin: { ...aMessage([]).origin, helo: hostile.helo, clientAddress: hostile.helo },
              envelope: {
                sender: hostile.sender,
                smtpUtf8: hostile.smtpUtf8,
                ...(hostile.envid === undefined ? {} : { envelopeId: hostile.envid }),
              },
            }),
            to: [{ address: hostile.sender }],
            recipients: [
              {
                recipient: aRecipient(
                  hostile.address,
                  hostile.orcpt === undefined ? {} : { originalRecipient: hostile.orcpt },
                ),
                action: hostile.kind === "failed" ? "failed" : hostile.kind === "delayed" ? "delayed" : "delivered",
                reply: { code: 550, enhanced: hostile.enhanced, text: hostile.text },
                ...(hostile.remoteHost === undefined ? {} : { remoteHost: hostile.remoteHost }),
              },
            ],
            content: contentOf(`Subject: x\r\nMessage-ID: ${hostile.content}\r\n\r\n${hostile.content}`),
          }),
        );
        const whole = content.toString();
        const boundary = /\r\n boundary="([^"]+)"\r\n/.exec(whole)?.[1] ?? "none";
        const parts = whole.split(`\r\n--${boundary}`);
        assert.equal(parts.length, 5);
        assert.equal(parts[4], "--\r\n");
        const ours = parts.slice(0, 3).join("");
        assert.doesNotMatch(ours.replaceAll("\r\n", ""), /[\p{Cc}\u2028\u2029]/u);
        assert.ok(ours.split("\r\n").every((line) => Buffer.byteLength(line) <= 998));
        const header = (parts[0] ?? "").split("\r\n\r\n")[0] ?? "";
        for (const name of namesOf(header)) assert.ok(headerFields.has(name ?? ""), `${name}`);
        const groups = (parts[2] ?? "").replace(/\r\n$/, "").split("\r\n\r\n").slice(1);
        assert.equal(groups.length, 2);
        for (const [at, known] of [perMessage, perRecipient].entries()) {
          const names = namesOf(groups[at] ?? "");
          assert.equal(new Set(names).size, names.length);
          for (const name of names) assert.ok(known.has(name ?? ""), `${name}`);
        }
      },
    ),
    { numRuns: 200 },
  );
});
