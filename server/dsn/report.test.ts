import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { aMessage, aRecipient, contentOf } from "../deliver/outbound-fixture.ts";
import { decodeXtext, field, fieldText } from "./mime.ts";
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
  assert.match(report.text, /could not\r?\nbe delivered/);
  assert.match(report.text, /<bob@remote\.test>/);
  assert.deepEqual(report.status, [
    [
      ["Reporting-MTA", "dns; mx.example.org"],
      ["Original-Envelope-Id", "QQ+7"],
      ["X-Packetboat-Queue-ID", "0TestQueueId1"],
      ["X-Packetboat-Sender", "rfc822; sender@example.org"],
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
  const { content } = await reportOn(request({ kind: "delayed", recipients: [delayed] }));
  const report = await read(content);
  assert.equal(report.kinds[2], "text/rfc822-headers");
  assert.ok(
    Array.isArray(report.status) &&
      report.status[1]?.some(
        ([name, value]) => name === "Will-Retry-Until" && value === "Wed, 07 Jan 2026 00:00:00 +0000",
      ),
  );
  assert.match(report.text, /need not send it again/);
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
    request({ recipients: [{ ...failedRecipient, recipient }], content: contentOf("Subject: ü\r\n\r\nx\r\n") }),
  );
  assert.equal(envelope.smtpUtf8, true);
  assert.equal(envelope.body, "8BITMIME");
  const report = await read(content);
  assert.deepEqual(report.kinds, ["text/plain", "message/global-delivery-status", "message/global"]);
  assert.equal(report.report, "global-delivery-status");
  assert.ok(typeof report.status === "string" && report.status.includes("Final-Recipient: utf-8; jürgen@bücher.test"));
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
  assert.equal(decodeXtext("a+2Bb+3D"), "a+b=");
});
