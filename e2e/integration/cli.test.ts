/**
 * The command line `packetboat` against running servers: every verb, sendmail, the life of messages, a purge while mail comes in, several pods through a
 * stand-in for kubectl that runs the same command on this machine.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { Packetboat } from "../peers/packetboat.ts";
import { freePort, until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, quickstart } from "./manifests.ts";

const command = resolve(import.meta.dirname, "../../server/cli/packetboat.ts");

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function packetboat(
  parameters: readonly string[],
  { input = "", env = {} }: { readonly input?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [command, ...parameters], { env: { ...process.env, ...env } });
  let out = "";
  let err = "";
  child.stdout.on("data", (data: Buffer) => (out += data.toString("latin1")));
  child.stderr.on("data", (data: Buffer) => (err += data.toString("latin1")));
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const [code] = (await once(child, "close")) as [number | null];
  return { code, out, err };
}

interface Message {
  readonly id: string;
  readonly pod?: string;
  readonly receivedMs: number;
  readonly recipients: readonly {
    readonly address: string;
    readonly state: string;
    readonly attempts: number;
    readonly dueMs: number;
  }[];
}

/** The quickstart with a domain whose mail cannot be delivered. */
async function aServer(): Promise<Packetboat> {
  const port = await freePort();
  const later =
    object("MailDomain", "later", {
      domain: "later.example",
      serverRef: { name: "mx" },
      class: "Mailbox",
      delivery: { lmtp: { host: "127.0.0.1", port } },
    }) +
    ["x", "y"]
      .map((name) =>
        object("Mailbox", `later-${name}`, { address: `${name}@later.example`, domainRef: { name: "later" } }),
      )
      .join("") +
    object("Alias", "both", {
      addresses: ["both"],
      domainRef: { name: "later" },
      destinations: ["x@later.example", "alice@example.org"],
    });
  return await Packetboat.start({ ...quickstart(), "later.yaml": later });
}

const forServer =
  (boat: Packetboat) =>
  (parameters: readonly string[], input?: string): Promise<Ended> =>
    packetboat(parameters, { input: input ?? "", env: { PACKETBOAT_DATA: boat.data } });
type Run = ReturnType<typeof forServer>;

async function listed(run: Run, ...parameters: string[]): Promise<Message[]> {
  const { code, out, err } = await run(["queue", "list", "--json", ...parameters]);
  assert.equal(code, 0, err);
  return out
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Message);
}

/** Sent by the command itself; its id. */
async function sent(
  run: Run,
  to: readonly string[],
  content = "Subject: hello\n\nbody\n",
  more: readonly string[] = [],
): Promise<string> {
  const { code, out, err } = await run(["sendmail", "-v", "-f", "bob@example.net", ...more, ...to], content);
  assert.equal(code, 0, err);
  return /queued as ([0-9A-Za-z]+)/.exec(out)?.[1] ?? assert.fail(out);
}

test("every verb of the queue, on one message after the other", async () => {
  await using boat = await aServer();
  const run = forServer(boat);
  assert.equal(statSync(join(boat.data, "control.sock")).mode & 0o777, 0o600);
  const first = await sent(run, ["x@later.example"]);
  const second = await sent(run, ["y@later.example"], "Subject: second\n\nother body\n");
  await until("both to be deferred", 10_000, async () => (await listed(run, "--state", "deferred")).length === 2);

  const text = await run(["queue", "list"]);
  assert.match(text.out, /^ID +STATE +AGE +SIZE +SENDER +RECIPIENT +NEXT +LAST REPLY\n/);
  assert.match(text.out, new RegExp(`^${first} +deferred .* bob@example\\.net +x@later\\.example .* 4\\.4\\.1 `, "m"));
  const summary = await run(["queue", "list", "--summary"]);
  assert.match(summary.out, /^deferred +2$/m);
  assert.deepEqual(
    (JSON.parse((await run(["queue", "list", "--summary", "--json"])).out) as { messages: unknown }).messages,
    {
      active: 0,
      deferred: 2,
      hold: 0,
      corrupt: 0,
    },
  );
  assert.deepEqual(
    (await listed(run, "--recipient", "y@later.example")).map(({ id }) => id),
    [second],
  );
  assert.deepEqual(await listed(run, "--sender", "<>"), []);
  assert.deepEqual(await listed(run, "--older-than", "1h"), []);
  assert.equal((await listed(run, "--limit", "1")).length, 1);

  const shown = await run(["queue", "show", first]);
  assert.match(shown.out, /^sender: +bob@example\.net$/m);
  assert.match(shown.out, /^x@later\.example +deferred +1 /m);
  assert.match(shown.out, /^last dialogue:\n {2}\* connect to .*refused/m);
  const cat = await run(["queue", "cat", second]);
  assert.match(cat.out, /^Received: from [\s\S]*\r\nSubject: second\r\n[\s\S]*\r\n\r\nother body\r\n$/);
  assert.equal(
    Buffer.from(
      (JSON.parse((await run(["queue", "cat", "--json", second])).out) as { content: string }).content,
      "base64",
    ).toString("latin1"),
    cat.out,
  );

  const shape = await run(["queue", "shape"]);
  assert.match(shape.out, /^DOMAIN +T +5 +10 +20 +40 +80 +160 +320 +640 +1280 +1280\+\nTOTAL +2 +2 +0/);
  assert.match(shape.out, /^later\.example +2 +2 /m);
  assert.match((await run(["queue", "shape", "--sender"])).out, /^example\.net +2 +2 /m);

  assert.match((await run(["queue", "hold", "--recipient", "x@later.example"])).out, /^1 message put on hold$/m);
  assert.deepEqual(
    (await listed(run, "--state", "hold")).map(({ id }) => id),
    [first],
  );
  const release = await run(["queue", "release", first, "0000000000"]);
  assert.equal(release.code, 1);
  assert.match(release.err, /0000000000: not in the queue/);
  // Due now: tried again at once, not after the back-off.
  const attemptsOf = async (id: string) =>
    (await listed(run)).find((message) => message.id === id)?.recipients[0]?.attempts ?? 0;
  await until("the second attempt", 10_000, async () => (await attemptsOf(first)) >= 2);

  assert.equal((await run(["queue", "requeue", "-"], `${second} a comment\n\n`)).code, 0);
  await until(
    "the new first attempt",
    10_000,
    async () => (await attemptsOf(second)) === 1 && (await listed(run, "--state", "active")).length === 0,
  );
  assert.match((await run(["queue", "flush", "--domain", "later.example"])).out, /^2 messages made due$/m);
  await until("the attempt after the flush", 10_000, async () => (await attemptsOf(second)) >= 2);
  const before = await attemptsOf(second);
  await until("nothing under way", 10_000, async () => (await listed(run, "--state", "deferred")).length === 2);
  assert.deepEqual(JSON.parse((await run(["queue", "flush", "--json"])).out), { verb: "flush", recipients: 2 });
  await until("the attempt after the other flush", 10_000, async () => (await attemptsOf(second)) > before);
  assert.equal((await run(["queue", "flush", "--id", second])).code, 0);

  assert.equal((await run(["queue", "delete"])).code, 2);
  assert.equal((await run(["queue", "delete", "--all", first])).code, 2);
  assert.equal((await run(["queue", "nonsense"])).code, 2);
  assert.deepEqual(JSON.parse((await run(["queue", "delete", "--json", first])).out), {
    verb: "delete",
    changed: 1,
    missing: [],
  });
  assert.equal((await run(["queue", "show", first])).code, 1);
  assert.equal((await run(["queue", "cat", first])).code, 1);
  assert.match((await run(["queue", "delete", "--all"])).out, /^1 message deleted$/m);
  assert.equal((await run(["queue", "list"])).out, "no message\n");

  // None of it over the network.
  for (const path of ["/list", "/act-on-all", "/flush", "/trace"])
    assert.equal(
      (await fetch(`http://127.0.0.1:${9125 + boat.offset}${path}`, { method: "POST", body: "{}" })).status,
      405,
    );
});

test("trace tells the life of a message that is deferred for one and delivered to another, and reads the log", async () => {
  await using boat = await aServer();
  const run = forServer(boat);
  const id = await sent(run, ["both@later.example"]);
  await until("alice's copy", 10_000, () => boat.maildir("mail/example.org/alice").length === 1);
  await until("x to be deferred", 10_000, async () => (await listed(run, "--state", "deferred")).length === 1);
  const deferred = (await run(["trace", id])).out;
  assert.match(deferred, /^life:\n {2}\S+ \S+Z {2}accepted from .*\[127\.0\.0\.1\] ESMTP/m);
  assert.match(deferred, /expanded both@later\.example into x@later\.example, alice@example\.org/);
  assert.match(deferred, /deferred x@later\.example by .*refused, next /);
  assert.match(deferred, /delivered alice@example\.org by maildir/);
  assert.match(deferred, /^last dialogue:/m);
  assert.doesNotMatch(deferred, /^log:/m);
  assert.match((await run(["trace", id, "--log"])).out, /^log:\n[\s\S]* delivery to=alice@example\.org .*status=sent/m);
  const log = readFileSync(join(boat.data, "server.log"), "utf8");
  const traced = JSON.parse((await run(["trace", id, "--json", "--log", "-"], `not JSON ${id}\n${log}`)).out) as {
    message: Message;
    life: { events: { kind: string }[] };
    log: { event: string; id: string }[];
  };
  assert.equal(traced.message.id, id);
  assert.deepEqual(traced.life.events.map(({ kind }) => kind).toSorted(), ["deferred", "delivered", "expanded"]);
  assert.ok(traced.log.length >= 3 && traced.log.every((line) => line.id === id));

  await run(["queue", "delete", id]);
  assert.match((await run(["trace", id])).out, /no longer in the queue[\s\S]*operator: delete/);
  const unknown = await run(["trace", "0000000000000"]);
  assert.equal(unknown.code, 1);
  assert.match(unknown.err, /not among the newest messages; --log looks into the log/);

  // A restart forgets what was in memory; the log does not.
  assert.equal(await boat.stop(), 0);
  assert.equal((await run(["queue", "list"])).code, 1);
  assert.match((await run(["trace", id, "--log"])).out, /operator verb=delete/);
});

test("sendmail: fix-ups, -t, parameters of RFC 3461, exit codes of sysexits, submission with a password, -bs", async () => {
  await using boat = await aServer();
  const run = forServer(boat);
  const from = ["-f", "bob@example.net"];
  assert.equal(
    (
      await run(
        ["sendmail", "-t", "-oi", ...from, "-F", "Bob B."],
        "To: alice@example.org\nBcc: x@later.example\nSubject: t\n\n.\nafter the dot\n",
      )
    ).code,
    0,
  );
  await until("alice's mail", 10_000, () => boat.maildir("mail/example.org/alice").length === 1);
  const [mail = ""] = boat.maildir("mail/example.org/alice");
  assert.match(mail, /^From: "Bob B\." <bob@example\.net>\r?$/m);
  assert.match(mail, /^Date: \w{3}, \d\d /m);
  assert.match(mail, /^Message-ID: <.+@.+>/m);
  assert.match(mail, /\n\.\r?\nafter the dot/);
  // The queue id may hold any letters.
  assert.doesNotMatch(mail, /^Bcc:|later\.example/im);
  const [other] = await listed(run, "--recipient", "x@later.example");
  await run(["queue", "delete", other?.id ?? ""]);

  const id = await sent(run, ["x@later.example"], "Subject: dsn\n\n", [
    "-N",
    "failure,delay",
    "-V",
    "env+id",
    "-R",
    "hdrs",
    "-B",
    "8BITMIME",
  ]);
  const message = JSON.parse((await run(["queue", "show", "--json", id])).out) as {
    envelope: Record<string, unknown>;
    recipients: { notify: string[] }[];
  };
  assert.deepEqual(message.recipients[0]?.notify.toSorted(), ["DELAY", "FAILURE"]);
  assert.equal(message.envelope["return"], "HDRS");
  assert.match(String(message.envelope["envelopeId"]), /^env(\+2B|\+)id$/);

  const partly = await run(["sendmail", ...from, "nobody@example.org", "x@later.example"], "Subject: x\n\n");
  assert.equal(partly.code, 67);
  assert.match(partly.err, /nobody@example\.org: .*550 5\.1\.1/);
  assert.equal((await listed(run, "--recipient", "x@later.example")).length, 2);
  const codes: readonly [readonly string[], string, number][] = [
    [[], "Subject: x\n\n", 64],
    [["-t"], "Subject: x\n\n", 64],
    [["-Z"], "", 64],
    [["-bd"], "", 64],
    [["-bi"], "", 0],
    [["nobody@example.org"], "Subject: x\n\n", 67],
    [["--server", `127.0.0.1:${await freePort()}`, "alice@example.org"], "Subject: x\n\n", 75],
    [["--server", "no-such-host.invalid:25", "alice@example.org"], "Subject: x\n\n", 68],
    [["--server", "a b", "alice@example.org"], "Subject: x\n\n", 64],
    [["--user", "alice@example.org", "alice@example.org"], "Subject: x\n\n", 64],
  ];
  for (const [parameters, input, code] of codes) {
    const ended = await run(["sendmail", ...from, ...parameters], input);
    assert.equal(ended.code, code, `${parameters.join(" ")}: ${ended.err}`);
  }

  const submission = (password: string, ...more: string[]): Promise<Ended> =>
    packetboat(
      [
        "sendmail",
        "--server",
        `127.0.0.1:${boat.submission}`,
        "--user",
        "alice@example.org",
        "-f",
        "alice@example.org",
        ...more,
        "x@later.example",
      ],
      { input: "Subject: submitted\n\n", env: { PACKETBOAT_DATA: boat.data, PACKETBOAT_PASSWORD: password } },
    );
  // The password does not go to whom nobody vouches for.
  assert.equal((await submission("test-password-change-me")).code, 75);
  const taken = await submission("test-password-change-me", "--tls", "may");
  assert.equal(taken.code, 0, taken.err);
  assert.equal((await submission("wrong", "--tls", "may")).code, 77);

  const spoken = await run(["sendmail", "-bs"], "EHLO x.example\r\nQUIT\r\n");
  assert.match(spoken.out, /^220 [\s\S]*^250[ -][\s\S]*^221 /m);
  assert.match((await run(["sendmail", "-bp"])).out, /x@later\.example/);
  assert.match((await run(["sendmail", "-bv", "alice@example.org"])).out, /by maildir/);
});

test("verify says what would happen, live and from a folder of configuration", async () => {
  await using boat = await aServer();
  const run = forServer(boat);
  const live = await run(["verify", "both@later.example"]);
  assert.equal(live.code, 0, live.err);
  assert.match(live.out, /^a stranger hears: 250 /m);
  assert.match(
    live.out,
    /both@later\.example {2}alias\n {4}x@later\.example {2}mailbox\n {4}alice@example\.org {2}mailbox/,
  );
  assert.match(live.out, /x@later\.example {2}by lmtp[\s\S]*TLS May[\s\S]*next hop 127\.0\.0\.1/);
  const unknown = await run(["verify", "nobody@example.org"]);
  assert.equal(unknown.code, 1);
  assert.match(unknown.out, /a stranger hears: 550 5\.1\.1 .*\(recipientRefused\)/);
  const relay = JSON.parse((await run(["verify", "--json", "someone@[203.0.113.9]"])).out) as {
    stranger: { accepted: boolean };
  };
  assert.equal(relay.stranger.accepted, false);
  const offline = await packetboat(["verify", "--config", join(boat.data, "config"), "both@later.example"]);
  assert.equal(offline.out, live.out, offline.err);
});

test("a purge of thousands while mail comes in: all of them go, nobody waits, what comes in stays", async () => {
  await using boat = await aServer();
  const run = forServer(boat);
  const clients = await Promise.all(
    Array.from({ length: 8 }, async () => {
      const client = await SmtpDialogue.open(boat.mx);
      await client.reply();
      await client.command("EHLO client.example.net");
      return client;
    }),
  );
  const load = async (messages: number, to: string): Promise<number[]> => {
    const waits: number[] = [];
    await Promise.all(
      clients.map(async (client) => {
        for (let count = 0; count < messages / clients.length; count++) {
          const start = performance.now();
          const replies = await client.send({ from: "a@b.example", to: [to], content: "Subject: load\n\nx\n" });
          assert.match(replies.at(-1) ?? "", /^250 /);
          waits.push(performance.now() - start);
        }
      }),
    );
    return waits;
  };
  // The slowest of the load before is what this machine takes at its worst.
  const usualMs = Math.max(...(await load(2000, "x@later.example")));
  const purge = run(["queue", "delete", "--domain", "later.example", "--json"]);
  const waits: number[] = [];
  let isDone = false;
  void purge.then(() => (isDone = true));
  do waits.push(...(await load(80, "alice@example.org")));
  while (!isDone);
  const { code, out, err } = await purge;
  assert.equal(code, 0, err);
  assert.equal((JSON.parse(out) as { changed: number }).changed, 2000);
  const longestMs = Math.max(...waits);
  assert.ok(longestMs < Math.max(2000, 3 * usualMs), `${longestMs} ms for a 250, at most ${usualMs} ms before`);
  assert.deepEqual(await listed(run, "--domain", "later.example"), []);
  await until("alice's mail", 20_000, () => boat.maildir("mail/example.org/alice").length === waits.length);
  for (const client of clients) await client[Symbol.asyncDispose]();
});

/** Knows two pods, each a server on this machine, and the commands that the tool uses; anything else fails. */
function aKubectl(folder: string, pods: Readonly<Record<string, string>>): string {
  const path = join(folder, "kubectl");
  writeFileSync(
    path,
    `#!${process.execPath}
const { spawnSync } = require("node:child_process");
const { appendFileSync, readFileSync } = require("node:fs");
const pods = ${JSON.stringify(pods)};
const args = process.argv.slice(2);
appendFileSync(${JSON.stringify(join(folder, "calls"))}, JSON.stringify(args) + "\\n");
const line = args.join(" ");
if (!line.startsWith("--context=c --namespace=mail ")) process.exit(90);
const rest = args.slice(2);
const say = (value) => process.stdout.write(JSON.stringify(value));
if (line.includes(" get statefulset mx ")) say({ spec: { selector: { matchLabels: { app: "mta", of: "mx" } } } });
else if (line.includes(" get pods -l app=mta,of=mx ")) say({ items: Object.keys(pods).map((name) => ({ metadata: { name } })) });
else if (rest[0] === "exec" && rest[1] === "-i" && rest.slice(3, 6).join(" ") === "-c mta --" && rest[6] === "packetboat") {
  if (pods[rest[2]] === undefined) { process.stderr.write("Error from server (NotFound): pods not found\\n"); process.exit(1); }
  const ended = spawnSync(process.execPath, [${JSON.stringify(command)}, ...rest.slice(7)], { env: { ...process.env, PACKETBOAT_DATA: pods[rest[2]] }, stdio: "inherit" });
  process.exit(ended.status);
} else if (rest[0] === "logs") process.stdout.write(readFileSync(pods[rest[1]] + "/server.log"));
else process.exit(91);
`,
  );
  chmodSync(path, 0o755);
  return path;
}

test("a MailServer of two pods: lists merged, ids found where they are, changes in both, logs of both", async () => {
  await using one = await aServer();
  await using two = await aServer();
  const folder = mkdtempSync(join(tmpdir(), "packetboat-kubectl-"));
  try {
    aKubectl(folder, { "mx-0": one.data, "mx-1": two.data });
    const cluster = ["--namespace", "mail", "--server", "mx", "--context", "c"];
    const run: Run = ([first = "", second = "", ...rest], input) => {
      const words = first === "queue" ? [first, second, ...cluster, ...rest] : [first, ...cluster, second, ...rest];
      return packetboat(words, { input: input ?? "", env: { PATH: `${folder}:${process.env["PATH"]}` } });
    };
    const ids = [
      await sent(forServer(one), ["x@later.example"], "Subject: in one\n\n"),
      await sent(forServer(two), ["x@later.example"], "Subject: in two\n\n"),
      await sent(forServer(one), ["y@later.example"], "Subject: in one again\n\n"),
    ];
    await until("three deferred", 20_000, async () => (await listed(run, "--state", "deferred")).length === 3);
    const messages = await listed(run);
    assert.deepEqual(
      messages.map(({ id, pod }) => `${id} ${pod}`).toSorted(),
      [`${ids[0]} mx-0`, `${ids[1]} mx-1`, `${ids[2]} mx-0`].toSorted(),
    );
    assert.deepEqual(
      messages.map(({ id }) => id),
      messages.map(({ id }) => id).toSorted(),
    );
    assert.match((await run(["queue", "list", "--summary"])).out, /^deferred +3$/m);
    assert.match((await run(["queue", "shape"])).out, /^later\.example +3 /m);
    assert.match((await run(["queue", "show", ids[1] ?? ""])).out, /^where: +pod mx-1, shard \d$/m);
    assert.match((await run(["queue", "cat", ids[1] ?? ""])).out, /Subject: in two/);
    assert.match((await run(["trace", ids[2] ?? "", "--log"])).out, /^log:\n[\s\S]*status=deferred/m);
    assert.match((await run(["verify", "alice@example.org"])).out, /by maildir/);
    const held = await run(["queue", "hold", "-", "--json"], `${ids[0]}\n${ids[1]}\n0000000000000\n`);
    assert.equal(held.code, 1);
    assert.deepEqual(JSON.parse(held.out), { verb: "hold", changed: 2, missing: ["0000000000000"] });
    assert.equal((await listed(run, "--state", "hold")).length, 2);
    assert.equal((await run(["queue", "show", "--pod", "mx-0", ids[1] ?? ""])).code, 1);
    assert.match((await run(["queue", "delete", "--domain", "later.example"])).out, /^3 messages deleted$/m);

    // A pod whose server is gone: the other answers, and the code says that something is missing.
    await sent(forServer(two), ["x@later.example"]);
    await one.stop();
    const half = await run(["queue", "list", "--json"]);
    assert.equal(half.code, 1);
    assert.match(half.err, /mx-0: no server answers/);
    assert.equal(half.out.trim().split("\n").length, 1);
    assert.equal((await packetboat(["queue", "list", "--server", "$(reboot)"])).code, 2);
    assert.equal((await packetboat(["queue", "list", "--namespace", "mail"])).code, 2);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a caller who goes away stops what it asked for, and leaves a server that works", async () => {
  await using boat = await aServer();
  const run = forServer(boat);
  await sent(run, ["x@later.example"], `Subject: large\n\n${"0123456789abcdef\n".repeat(300_000)}`);
  await until("it to be there", 10_000, async () => (await listed(run)).length === 1);
  const [message] = await listed(run);
  // Half of the answer, then gone.
  const socket = connect(join(boat.data, "control.sock"));
  const body = JSON.stringify({ id: message?.id });
  socket.write(`POST /content HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  await once(socket, "data");
  socket.destroy();
  const reader: ChildProcess = spawn(process.execPath, [
    command,
    "queue",
    "cat",
    message?.id ?? "",
    "--data",
    boat.data,
  ]);
  reader.stdout?.once("data", () => reader.stdout?.destroy());
  await once(reader, "close");
  assert.equal((await run(["queue", "cat", message?.id ?? ""])).out.length > 5_000_000, true);
  assert.match((await run(["queue", "delete", "--all"])).out, /^1 message deleted/);
  assert.equal(
    boat.log().some(({ level }) => level === "fatal"),
    false,
  );
});
