/**
 * Every kind of delivery report, from the running server, read by Python's email package and by postal-mime; and Postfix's reports of the same
 * events beside ours: whatever field Postfix writes, we write.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import PostalMime from "postal-mime";
import { NextHop, type Taken } from "../peers/next-hop.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { ensureCommands } from "../peers/packages.ts";
import { until } from "../peers/ports.ts";
import { Postfix, postfixMissing } from "../peers/postfix.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object } from "./manifests.ts";

type Field = readonly [name: string, value: string];

interface Report {
  readonly raw: string;
  readonly header: readonly Field[];
  readonly type: string;
  readonly reportType: string;
  readonly parts: readonly string[];
  readonly text: string;
  readonly groups: readonly (readonly Field[])[];
  readonly defects: readonly string[];
}

/** The same report, by two readers that know nothing of us, which must agree. */
async function read({ content }: Taken): Promise<Report> {
  const output = await new Promise<string>((resolve, reject) => {
    const child = execFile("python3", [join(import.meta.dirname, "report-reader.py")], (error, stdout) =>
      error === null ? resolve(stdout) : reject(error),
    );
    child.stdin?.end(content);
  });
  const report = JSON.parse(output) as Omit<Report, "raw">;
  assert.deepEqual(report.defects, []);
  const other = await PostalMime.parse(content, { forceRfc822Attachments: true });
  assert.equal(other.subject, value(report.header, "Subject"));
  assert.equal(other.text?.replaceAll("\r\n", "\n").trim(), report.text.replaceAll("\r\n", "\n").trim());
  // Both see the machine's part with the same fields.
  const status = other.attachments.find(({ mimeType }) => mimeType.endsWith("delivery-status"))?.content;
  assert.ok(status !== undefined && typeof status !== "string");
  const names = [...new TextDecoder().decode(status).matchAll(/^([A-Za-z-]+):/gm)].map(([, name]) => name);
  assert.deepEqual(
    names,
    report.groups.flat().map(([name]) => name),
  );
  return { raw: content.toString(), ...report };
}

const value = (fields: readonly Field[] | undefined, name: string): string | undefined =>
  fields?.find(([each]) => each.toLowerCase() === name.toLowerCase())?.[1];

/** Names as both write them: lower case, and a server's own under one name. */
const names = (fields: readonly Field[] | undefined): Set<string> =>
  new Set((fields ?? []).map(([name]) => name.toLowerCase().replace(/^x-(?:postfix|packetboat)-/, "x-own-")));

const sender = "sender@home.example";
const postmaster = "postmaster@home.example";

interface Peer {
  readonly hop: NextHop;
  readonly port: number;
}

interface Mail {
  readonly from?: string;
  readonly mail?: string;
  readonly rcpt: readonly string[];
  readonly content?: string;
}

async function send(port: number, { from = sender, mail = "", rcpt, content }: Mail): Promise<void> {
  await using client = await SmtpDialogue.open(port);
  await client.reply();
  await client.command("EHLO client.example.net");
  for (const line of [`MAIL FROM:<${from}>${mail}`, ...rcpt.map((to) => `RCPT TO:${to}`)])
    assert.match(await client.command(line), /^250 /, line);
  assert.match(await client.command("DATA"), /^354 /);
  const text = content ?? `From: <${from}>\nMessage-ID: <original@home.example>\nSubject: hello\n\nthe body\n`;
  client.write(`${text.replaceAll("\n", "\r\n")}.\r\n`);
  assert.match(await client.reply(), /^250 /);
}

const queue = {
  minBackoff: "1s",
  maxBackoff: "1s",
  delayWarning: "1s",
  confirmDelayCleared: true,
  notify: ["Bounce", "DoubleBounce", "Delay"],
};

const startBoat = (port: number, settings: unknown = queue): Promise<Packetboat> =>
  Packetboat.start({
    "all.yaml":
      object("MailServer", "mx", {
        hostname: "mx.example.org",
        networks: { trusted: ["127.0.0.0/8"] },
        postmaster: [postmaster],
        queue: settings,
        outbound: { relayHost: { host: "127.0.0.1", port } },
      }) +
      object("MailDomain", "lists", { domain: "lists.example", serverRef: { name: "mx" }, class: "Alias" }) +
      object("Alias", "list", {
        domainRef: { name: "lists" },
        entries: [
          { address: "list", destinations: ["ann@remote.example", "ben@remote.example"] },
          { address: "one", destinations: ["ann@remote.example"] },
        ],
      }),
  });

const startPostfix = (port: number): Promise<Postfix> =>
  Postfix.start(
    port,
    `delay_warning_time = 1s
confirm_delay_cleared = yes
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
smtp_tls_security_level = none
notify_classes = bounce, 2bounce, delay
bounce_notice_recipient = ${postmaster}
2bounce_notice_recipient = ${postmaster}
delay_notice_recipient = ${postmaster}
virtual_alias_domains = lists.example
virtual_alias_maps = inline:{ { list@lists.example = ann@remote.example, ben@remote.example }, { one@lists.example = ann@remote.example } }
`,
  );

/** The report to somebody about an action; the first there is. */
async function reportTo(hop: NextHop, address: string, action: string, about: string): Promise<Report> {
  const pattern = new RegExp(`^Final-Recipient: \\S+;\\s*${about}\\r?\\n(?:.+\\r?\\n)*?Action: ${action}`, "im");
  const find = (): Taken | undefined => hop.to(address).find(({ content }) => pattern.test(content.toString()));
  await until(`a report to ${address} that ${about} was ${action}`, 30_000, () => find() !== undefined);
  const found = find();
  assert.ok(found !== undefined);
  return await read(found);
}

interface Event {
  readonly name: string;
  readonly mail: Mail;
  readonly to: string;
  readonly about: string;
  readonly action: string;
  readonly subject: string;
  /** Postfix's subject where it is another one. */
  readonly postfixSubject?: string;
  readonly last: string;
}

const asked = " RET=HDRS ENVID=QQ+2B7";
const events: readonly Event[] = [
  {
    name: "failed",
    mail: { rcpt: ["<ghost@remote.example> ORCPT=rfc822;first+2Bname@home.example"], mail: " ENVID=QQ+2B7" },
    to: sender,
    about: "ghost@remote.example",
    action: "failed",
    subject: "Undelivered Mail Returned to Sender",
    last: "message/rfc822",
  },
  {
    name: "failed, the postmaster's copy",
    mail: { rcpt: ["<ghost2@remote.example> NOTIFY=NEVER"] },
    to: postmaster,
    about: "ghost2@remote.example",
    action: "failed",
    subject: "Postmaster Copy: Undelivered Mail",
    last: "text/rfc822-headers",
  },
  {
    name: "relayed",
    mail: { mail: asked, rcpt: ["<ok@remote.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;ok@remote.example"] },
    to: sender,
    about: "ok@remote.example",
    action: "relayed",
    subject: "Successful Mail Delivery Report",
    last: "text/rfc822-headers",
  },
  {
    name: "expanded",
    mail: { rcpt: ["<list@lists.example> NOTIFY=SUCCESS"] },
    to: sender,
    about: "list@lists.example",
    action: "expanded",
    subject: "Successful Mail Delivery Report",
    last: "text/rfc822-headers",
  },
  {
    name: "delayed",
    mail: { mail: asked, rcpt: ["<late@remote.example>"] },
    to: sender,
    about: "late@remote.example",
    action: "delayed",
    subject: "Delayed Mail (still being retried)",
    last: "text/rfc822-headers",
  },
  {
    name: "delayed, the postmaster's copy",
    mail: { rcpt: ["<late2@remote.example>"] },
    to: postmaster,
    about: "late2@remote.example",
    action: "delayed",
    subject: "Postmaster Warning: Delayed Mail",
    last: "text/rfc822-headers",
  },
  {
    name: "double bounce",
    mail: { from: "", rcpt: ["<ghost3@remote.example>"] },
    to: postmaster,
    about: "ghost3@remote.example",
    action: "failed",
    subject: "Postmaster Copy: Undeliverable Delivery Report",
    postfixSubject: "Postmaster Copy: Undelivered Mail",
    last: "message/rfc822",
  },
];

const python = ensureCommands({ python3: ["/usr/bin/python3"] });

describe("the reports of Packetboat, and those of Postfix for the same events", {
  skip: python ?? postfixMissing(),
}, () => {
  const peers = new AsyncDisposableStack();
  let ours: Peer;
  let theirs: Peer;

  before(async () => {
    const ourHop = peers.use(await NextHop.start());
    const theirHop = peers.use(await NextHop.start());
    ours = { hop: ourHop, port: peers.use(await startBoat(ourHop.port)).mx };
    theirs = { hop: theirHop, port: peers.use(await startPostfix(theirHop.port)).port };
    for (const { mail } of events) for (const { port } of [ours, theirs]) await send(port, mail);
  });
  after(() => peers.disposeAsync());

  for (const { name, mail, to, about, action, subject, postfixSubject, last } of events) {
    test(name, async () => {
      const our = await reportTo(ours.hop, to, action, about);
      const their = await reportTo(theirs.hop, to, action, about);

      // Postfix's notices to the postmaster come from an address of their own.
      assert.ok(ours.hop.to(to).every(({ from }) => from === ""));
      assert.equal(value(our.header, "Subject"), subject);
      assert.equal(value(their.header, "Subject"), postfixSubject ?? subject);
      for (const field of ["To", "Date", "Message-ID", "MIME-Version"]) assert.ok(value(our.header, field), field);
      assert.match(value(our.header, "From") ?? "", /^MAILER-DAEMON@mx\.example\.org/);
      assert.match(value(our.header, "Auto-Submitted") ?? "", /^auto-(?:replied|generated)$/);
      assert.equal(our.type, "multipart/report");
      assert.equal(our.reportType, "delivery-status");
      assert.deepEqual(our.parts, ["text/plain", "message/delivery-status", last]);
      assert.deepEqual(their.parts.slice(0, 2), our.parts.slice(0, 2));

      // All that Postfix says, in header and status, we say; what is about the event, in the same words.
      const trace = new Set(["received", "return-path"]);
      assert.deepEqual([...names(their.header).difference(names(our.header)).difference(trace)], []);
      assert.equal(our.groups.length, 2);
      assert.deepEqual([...names(their.groups[0]).difference(names(our.groups[0]))], []);
      const group = (report: Report): readonly Field[] | undefined =>
        report.groups.slice(1).find((each) => value(each, "Final-Recipient")?.endsWith(about) === true);
      assert.deepEqual([...names(group(their)).difference(names(group(our)))], []);
      const normal = (text: string | undefined): string | undefined => text?.replace(/;\s*/, "; ");
      for (const field of ["Final-Recipient", "Original-Recipient", "Action", "Remote-MTA"])
        if (value(group(their), field) !== undefined)
          assert.equal(normal(value(group(our), field)), normal(value(group(their), field)), field);
      assert.equal(value(group(our), "Status")?.[0], value(group(their), "Status")?.[0]);
      assert.equal(value(our.groups[0], "Original-Envelope-Id"), value(their.groups[0], "Original-Envelope-Id"));

      assert.equal(value(our.groups[0], "Reporting-MTA"), "dns; mx.example.org");
      assert.equal(value(our.groups[0], "Received-From-MTA"), "dns; client.example.net ([127.0.0.1])");
      assert.match(value(our.groups[0], "X-Packetboat-Queue-ID") ?? "", /^[0-9A-Za-z]{10,20}$/);
      assert.ok(!Number.isNaN(Date.parse(value(our.groups[0], "Arrival-Date") ?? "")));
      if (action !== "expanded") assert.ok(!Number.isNaN(Date.parse(value(group(our), "Last-Attempt-Date") ?? "")));
      if (mail.mail?.includes("ENVID") === true) assert.equal(value(our.groups[0], "Original-Envelope-Id"), "QQ+7");
      if (action === "failed") {
        assert.equal(value(group(our), "Status"), "5.1.1");
        assert.equal(value(group(our), "Diagnostic-Code"), "smtp; 550 5.1.1 No such user here");
        assert.match(our.text, /There is no mailbox with this address/);
      }
      if (action === "delayed")
        assert.ok(Date.parse(value(group(our), "Will-Retry-Until") ?? "") > Date.now() + 24 * 3_600_000);
      assert.ok(our.text.includes(`<${about}>`));
      assert.equal(our.raw.includes("the body"), last === "message/rfc822");
    });
  }

  test("delay cleared", async () => {
    // Both were warned of before.
    for (const { hop } of [ours, theirs]) await reportTo(hop, sender, "delayed", "late@remote.example");
    for (const { hop } of [ours, theirs]) hop.lateIsThere = true;
    const our = await reportTo(ours.hop, sender, "relayed", "late@remote.example");
    const their = await reportTo(theirs.hop, sender, "relayed", "late@remote.example");
    assert.equal(value(our.header, "Subject"), "Delayed Mail (now delivered)");
    for (const at of [0, 1]) assert.deepEqual([...names(their.groups[at]).difference(names(our.groups[at]))], []);
    assert.match(our.text, /has now been delivered/);
  });

  test("nobody hears of what nobody asked for, and nothing is reported about reports", () => {
    for (const { hop } of [ours]) {
      const reports = hop.messages.filter(({ from }) => from === "");
      const about = reports.map(({ to, content }) => {
        const text = content.toString();
        return `${to.join()} ${/^Final-Recipient: \S+\s*(\S+)/im.exec(text)?.[1] ?? ""} ${/^Action: (\w+)/im.exec(text)?.[1] ?? ""}`;
      });
      const seen = new Set(about);
      assert.equal(seen.size, about.length, about.join("\n"));
      assert.ok(!about.some((line) => /^sender\S+ ghost[23]@/.test(line)));
      assert.ok(
        !about.some((line) => /sender@home\.example \S+ failed|MAILER-DAEMON/.test(line) && !line.includes("ghost@")),
      );
      assert.ok(!about.some((line) => line.includes("ben@remote.example")));
    }
  });
});

test("a next hop with DSN gets NOTIFY, RET, ENVID and ORCPT, and reports success itself", {
  skip: python,
}, async () => {
  await using hop = await NextHop.start({ dsn: true });
  await using boat = await startBoat(hop.port);
  await send(boat.mx, {
    mail: " RET=HDRS ENVID=QQ+2B7",
    rcpt: ["<ok@remote.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first+2Bname@home.example"],
  });
  await send(boat.mx, { rcpt: ["<list@lists.example> NOTIFY=SUCCESS,FAILURE", "<never@remote.example> NOTIFY=NEVER"] });
  await until("the mail", 20_000, () =>
    ["ok", "never", "ben"].every((name) => hop.to(`${name}@remote.example`).length === 1),
  );
  // smtp-server shows both without their xtext.
  const [message] = hop.to("ok@remote.example");
  assert.deepEqual(message?.envelope.dsn, { ret: "HDRS", envid: "QQ+7" });
  const dsnOf = (address: string): unknown =>
    hop.messages.flatMap(({ envelope }) => envelope.rcptTo).find((each) => each.address === address)?.dsn;
  assert.deepEqual(dsnOf("ok@remote.example"), {
    notify: ["SUCCESS", "DELAY"],
    orcpt: "rfc822;first+name@home.example",
  });
  // RFC 3461 §5.2.7.3 (c): SUCCESS ends at the alias, all else goes along.
  for (const address of ["ann@remote.example", "ben@remote.example"])
    assert.deepEqual(dsnOf(address), { notify: ["FAILURE"], orcpt: "rfc822;list@lists.example" });
  assert.deepEqual(dsnOf("never@remote.example"), { notify: ["NEVER"] });
  const expanded = await reportTo(hop, sender, "expanded", "list@lists.example");
  assert.equal(expanded.groups.length, 2);
  assert.equal(hop.to(sender).length, 1);
});

// RFC 3461 §5.2.7.2; Postfix calls this an expansion too.
test("an alias of one address: no expansion to tell of, the next hop's answer counts", { skip: python }, async () => {
  await using hop = await NextHop.start();
  await using boat = await startBoat(hop.port);
  await send(boat.mx, { rcpt: ["<one@lists.example> NOTIFY=SUCCESS"] });
  const { groups, text } = await reportTo(hop, sender, "relayed", "ann@remote.example");
  assert.equal(value(groups[1], "Original-Recipient"), "rfc822; one@lists.example");
  assert.match(text, /you wrote to <one@lists\.example>/);
  assert.equal(hop.to(sender).length, 1);
});

test("internationalized mail: the global forms for a sender who knows them", { skip: python }, async () => {
  await using hop = await NextHop.start();
  await using boat = await startBoat(hop.port);
  const latin1 = (text: string): string => Buffer.from(text).toString("latin1");
  await send(boat.mx, {
    mail: " SMTPUTF8 BODY=8BITMIME",
    rcpt: [latin1("<ghost-jürgen@remote.example> ORCPT=utf-8;ghost-jürgen@remote.example")],
    content: "Subject: hello\n\nthe body\n",
  });
  const report = await reportTo(hop, sender, "failed", "ghost-jürgen@remote.example");
  assert.equal(report.reportType, "global-delivery-status");
  assert.deepEqual(report.parts, ["text/plain", "message/global-delivery-status", "message/global"]);
  assert.equal(value(report.groups[1], "Final-Recipient"), "utf-8; ghost-jürgen@remote.example");
  assert.equal(value(report.groups[1], "Original-Recipient"), "utf-8; ghost-jürgen@remote.example");
  assert.ok(report.text.includes("<ghost-jürgen@remote.example>"));
});

test("notify: Protocol sends the postmaster what was said in a session with mistakes, and nothing of others", {
  skip: python,
}, async () => {
  await using hop = await NextHop.start();
  await using boat = await startBoat(hop.port, { ...queue, notify: ["Protocol"] });
  await send(boat.mx, { rcpt: ["<ok@remote.example>"] });
  {
    await using client = await SmtpDialogue.open(boat.mx);
    await client.reply();
    assert.match(await client.command("EHLO odd.example.net"), /^250/);
    assert.match(await client.command("MAIL FROM:<a@b@c>"), /^5/);
    assert.match(await client.command("QUIT"), /^221/);
  }
  await until("the notice and the mail", 20_000, () => hop.to(postmaster).length === 1 && hop.messages.length >= 2);
  const [{ from, content } = { from: "", content: Buffer.alloc(0) }] = hop.to(postmaster);
  assert.equal(from, "");
  const notice = await PostalMime.parse(content);
  assert.match(notice.subject ?? "", /^Packetboat SMTP server: errors from \S+\[127\.0\.0\.1\]$/);
  assert.match(
    notice.text ?? "",
    /^Out: 220 [^]*^In: {2}EHLO odd\.example\.net\n[^]*^In: {2}MAIL FROM:<a@b@c>\nOut: 501 [^]*^In: {2}QUIT\nOut: 221 /m,
  );
  assert.equal(hop.messages.length, 2);
});

test("softBounce: nothing bounces", { skip: python }, async () => {
  await using hop = await NextHop.start();
  await using boat = await startBoat(hop.port, { ...queue, delayWarning: "0", softBounce: true });
  await send(boat.mx, { rcpt: ["<ghost@remote.example>"] });
  const deferred = (): number =>
    boat.log().filter(({ event, status }) => event === "delivery" && status === "deferred").length;
  await until("two attempts", 20_000, () => deferred() >= 2);
  assert.equal(hop.messages.length, 0);
});
