/**
 * A whole server whose domains, mailboxes, aliases, transports, owners and access rules lie in a real MariaDB with ViMbAdmin's tables, or in a real slapd: RCPT, delivery,
 * MAIL, an outage in the middle of mail, two hosts with the first one dead or silent.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { selfSigned } from "../peers/certificates.ts";
import { Deaf } from "../peers/deaf.ts";
import { Mariadb, mariadbMissing, MARIADB_PASSWORD } from "../peers/mariadb.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { freePort, until } from "../peers/ports.ts";
import { Sink } from "../peers/sink.ts";
import { LDAP_BASE, LDAP_READER, Slapd, slapdMissing } from "../peers/slapd.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, secret } from "./manifests.ts";

const command = resolve(import.meta.dirname, "../../server/cli/packetboat.ts");

const rows = (sink = 25): string => `
INSERT INTO domain (domain, transport, active) VALUES ('example.org', 'virtual', 1), ('all.example', 'virtual', 1), ('gone.example', 'virtual', 0),
  ('routed.example', 'smtp:[127.0.0.1]:${sink}', 1);
INSERT INTO mailbox (username, password, active) VALUES ('bob@example.org', 'x', 1), ('carol@example.org', 'x', 1), ('gone@example.org', 'x', 0), ('dora@routed.example', 'x', 1);
INSERT INTO alias (address, goto, active) VALUES ('bob@example.org', 'bob@example.org', 1), ('team@example.org', 'bob@example.org,both@example.org', 1),
  ('both@example.org', 'carol@example.org,bob@example.org,amy@object.example', 1), ('@all.example', 'bob@example.org', 1), ('ring@example.org', 'gnir@example.org', 1),
  ('gnir@example.org', 'ring@example.org', 1);
INSERT INTO access (pattern, action, type) VALUES ('spam.example', 'REJECT go away', 'spam'), ('later@example.net', 'DEFER', 'other'), ('quiet@', 'DISCARD', 'unsub');
`;

const database = (hosts: readonly string[], more: object = {}): object => ({
  name: "db",
  hosts,
  database: "vimbadmin",
  credentialsSecretName: "db",
  schema: "Vimbadmin",
  cache: { entries: 0 },
  ...more,
});

const access = { queries: [{ role: "Access", query: "SELECT action FROM access WHERE pattern = '%s'" }] };

const manifest = (lookups: object, more: object = {}): string =>
  object("MailServer", "mx", {
    hostname: "mx.example.net",
    queue: { minBackoff: "1s", maxBackoff: "1s" },
    outbound: { allowPrivateNextHops: true },
    lookups: { domains: { class: "Mailbox", delivery: { maildir: {} } }, ...lookups },
    ...more,
  }) +
  secret("db", { username: "postfix", password: MARIADB_PASSWORD }) +
  object("MailDomain", "object", {
    domain: "object.example",
    serverRef: { name: "mx" },
    class: "Mailbox",
    delivery: { maildir: {} },
    recipients: { from: "Lookups" },
  }) +
  object("Mailbox", "amy", { address: "amy@object.example", domainRef: { name: "object" } });

/** Replies to RCPT, each in a transaction of the same session. */
async function rcpt(boat: Packetboat, to: string, from = "someone@example.com"): Promise<string> {
  await using client = await SmtpDialogue.open(boat.mx);
  await client.reply();
  await client.command("EHLO client.example.com");
  const mail = await client.command(`MAIL FROM:<${from}>`);
  if (!mail.startsWith("250")) return mail;
  return await client.command(`RCPT TO:<${to}>`);
}

async function send(boat: Packetboat, to: readonly string[], subject: string): Promise<string> {
  await using client = await SmtpDialogue.open(boat.mx);
  await client.reply();
  await client.command("EHLO client.example.com");
  return (
    (await client.send({ from: "someone@example.com", to, content: `Subject: ${subject}\n\nbody\n` })).at(-1) ?? ""
  );
}

const packetboat = async (...parameters: string[]): Promise<string> =>
  (await promisify(execFile)(process.execPath, [command, ...parameters])).stdout;

const inbox = (boat: Packetboat, address: string): string[] =>
  boat.maildir(`mail/${address.replace(/^(.*)@(.*)$/, "$2/$1")}`);
const has = (boat: Packetboat, address: string, subject: string): boolean =>
  inbox(boat, address).some((message) => message.includes(`Subject: ${subject}`));

describe("a server with MariaDB", { skip: mariadbMissing() }, () => {
  test("RCPT knows whom the tables know; aliases over tables and objects reach everybody once; transports lead away; verify says so", async () => {
    await using sink = await Sink.start();
    await using mariadb = await Mariadb.start(rows(sink.port));
    await using boat = await Packetboat.start({
      "all.yaml": manifest({ mysql: [database([`127.0.0.1:${mariadb.port}`], access)] }),
    });
    const table: [to: string, reply: RegExp][] = [
      ["bob@example.org", /^250 /],
      ["BOB+tag@Example.ORG", /^250 /],
      ["team@example.org", /^250 /],
      ["anybody@all.example", /^250 /],
      ["postmaster@example.org", /^250 /],
      ["amy@object.example", /^250 /],
      ["nobody@example.org", /^550 5\.1\.1 /],
      ["gone@example.org", /^550 5\.1\.1 /],
      ["nobody@object.example", /^550 5\.1\.1 /],
      ["anybody@gone.example", /^554 5\.7\.1 /],
      ["anybody@elsewhere.example", /^554 5\.7\.1 /],
      ["x' OR '1'='1@example.org", /^5/],
    ];
    for (const [to, reply] of table) assert.match(await rcpt(boat, to), reply, to);
    assert.match(await rcpt(boat, "bob@example.org", "x@deep.spam.example"), /^554 5\.7\.1 .*go away/);
    assert.match(await rcpt(boat, "bob@example.org", "later@example.net"), /^450 /);

    assert.match(await send(boat, ["team@example.org"], "for all"), /^250 /);
    assert.match(await send(boat, ["x@all.example", "dora@routed.example"], "catch"), /^250 /);
    await until("everybody's mail", 20_000, () => {
      const everybody = ["bob@example.org", "carol@example.org", "amy@object.example"];
      return everybody.every((each) => has(boat, each, "for all")) && has(boat, "bob@example.org", "catch");
    });
    await until("the mail behind the transport", 20_000, () => sink.messages.length === 1);
    assert.deepEqual(sink.messages[0]?.to, ["dora@routed.example"]);
    assert.equal(inbox(boat, "bob@example.org").length, 2);

    const stdout = await packetboat("verify", "--json", "--config", join(boat.data, "config"), "team@example.org");
    const answer = JSON.parse(stdout) as {
      standing: string;
      deliverable: boolean;
      destinations: { address: string }[];
    };
    assert.equal(answer.standing, "local (Mailbox domain)");
    assert.equal(answer.deliverable, true);
    assert.deepEqual(answer.destinations.map(({ address }) => address).sort(), [
      "amy@object.example",
      "bob@example.org",
      "carol@example.org",
    ]);
  });

  test("killed in the middle: 451 and never 5xx, what was taken waits, all of it arrives when the database is back", async () => {
    await using mariadb = await Mariadb.start(rows());
    await using boat = await Packetboat.start({
      "all.yaml": manifest({ mysql: [database([`127.0.0.1:${mariadb.port}`])] }),
    });
    const taken: string[] = [];
    const refused = new Set<string>();
    let number = 0;
    let stop = false;
    const sender = async (): Promise<void> => {
      while (!stop) {
        const subject = `number ${number++} end`;
        const reply = await send(boat, [number % 2 === 0 ? "bob@example.org" : "x@all.example"], subject);
        if (reply.startsWith("250")) taken.push(subject);
        else refused.add(reply);
      }
    };
    const senders = [sender(), sender(), sender()];
    await until("mail", 20_000, () => taken.length > 30);
    await mariadb.signal("SIGKILL");
    await until("refusals", 20_000, () => refused.size > 0);
    const before = taken.length;
    assert.match(await rcpt(boat, "nobody@example.org"), /^451 4\.3\.0 /);
    assert.match(await rcpt(boat, "anybody@elsewhere.example"), /^451 4\.3\.0 /);
    // Objects need no database.
    assert.match(await rcpt(boat, "amy@object.example"), /^250 /);
    await mariadb.run();
    await until("mail again", 20_000, () => taken.length > before + 10);
    stop = true;
    await Promise.all(senders);
    for (const reply of refused) assert.match(reply, /^451 4\.3\.0 /);
    await until("every message", 30_000, () => inbox(boat, "bob@example.org").length >= taken.length);
    const messages = inbox(boat, "bob@example.org").join("\n");
    for (const subject of taken) assert.ok(messages.includes(`Subject: ${subject}`), subject);
    assert.equal(inbox(boat, "bob@example.org").length, taken.length);
  });

  test("an outage at delivery defers and recovers without a restart", async () => {
    await using mariadb = await Mariadb.start(rows());
    await using boat = await Packetboat.start({
      "all.yaml": manifest(
        { mysql: [database([`127.0.0.1:${mariadb.port}`])] },
        { queue: { minBackoff: "1s", maxBackoff: "1s", hold: true } },
      ),
    });
    assert.match(await send(boat, ["team@example.org"], "waits"), /^250 /);
    await mariadb.signal("SIGKILL");
    boat.write("all.yaml", manifest({ mysql: [database([`127.0.0.1:${mariadb.port}`])] }));
    await packetboat("queue", "release", "--all", "--data", boat.data);
    await until("the message to be deferred", 20_000, () =>
      boat
        .log()
        .some((line) => JSON.stringify(line).includes("4.3.0") && JSON.stringify(line).includes("team@example.org")),
    );
    await mariadb.run();
    await until("everybody's copy", 30_000, () =>
      ["bob@example.org", "carol@example.org", "amy@object.example"].every((each) => has(boat, each, "waits")),
    );
    assert.equal(inbox(boat, "bob@example.org").length, 1);
  });

  test("users log in with passwords of the tables and write only under addresses that are theirs", async () => {
    const hash = await promisify(execFile)("openssl", ["passwd", "-6", "-salt", "abcdefgh", "a-test-password"]);
    await using mariadb = await Mariadb.start(
      `${rows()}UPDATE mailbox SET password = '{SHA512-CRYPT}${hash.stdout.trim()}' WHERE username = 'bob@example.org';`,
    );
    await using boat = await Packetboat.start({
      "all.yaml": manifest({ mysql: [database([`127.0.0.1:${mariadb.port}`])] }),
    });
    const login = (password: string): string =>
      `AUTH PLAIN ${Buffer.from(`\0bob@example.org\0${password}`).toString("base64")}`;
    await using client = await SmtpDialogue.open(boat.submissions, { tls: true });
    await client.reply();
    await client.command("EHLO client.example.com");
    assert.match(await client.command(login("not this one")), /^535 /);
    assert.match(await client.command(login("a-test-password")), /^235 /);
    for (const [sender, reply] of [
      ["bob@example.org", /^250 /],
      ["bob+lists@example.org", /^250 /],
      ["team@example.org", /^250 /],
      // The catch-all is his.
      ["anything@all.example", /^250 /],
      ["carol@example.org", /^553 5\.7\.1 /],
      ["nobody@elsewhere.example", /^553 5\.7\.1 /],
    ] as const) {
      assert.match(await client.command(`MAIL FROM:<${sender}>`), reply, sender);
      await client.command("RSET");
    }
    await mariadb.signal("SIGKILL");
    assert.match(await client.command("MAIL FROM:<team@example.org>"), /^451 4\.3\.0 /);
    await using another = await SmtpDialogue.open(boat.submissions, { tls: true });
    await another.reply();
    await another.command("EHLO client.example.com");
    assert.match(await another.command(login("a-test-password")), /^454 /);
  });

  /** With `deadHost` written before a living one, no client waits a second more than without it. */
  async function nobodyWaits(deadHost: string, timing: object = {}): Promise<void> {
    await using mariadb = await Mariadb.start(rows());
    const living = `127.0.0.1:${mariadb.port}`;
    const one = manifest({ mysql: [database([living])] });
    const two = manifest({ mysql: [database([deadHost, living], timing)] });
    await using boat = await Packetboat.start({ "all.yaml": one });
    /** The slowest of ten at once. */
    const slowest = async (): Promise<number> => {
      const took = Array.from({ length: 10 }, async () => {
        const startedMs = performance.now();
        assert.match(await rcpt(boat, "bob@example.org"), /^250 /);
        return performance.now() - startedMs;
      });
      return Math.max(...(await Promise.all(took)));
    };
    // What the machine itself takes, before and after; the very first questions also wait for code that is read from disk.
    await slowest();
    const before = await slowest();
    await boat.configure("all.yaml", two);
    const [first, later] = [await slowest(), await slowest()];
    await boat.configure("all.yaml", one);
    const usual = Math.max(before, await slowest());
    assert.ok(Math.max(first, later) < usual + 1000, `${first} ms, then ${later} ms; ${usual} ms with one host`);
  }

  test("two hosts, the first one refuses: no client waits a second more", async () => {
    // Long, so that what is said of the dead host costs the living one nothing on a slow machine, and a wait for it would be seen.
    await nobodyWaits(`127.0.0.1:${await freePort()}`, { connectTimeout: "3s" });
  });

  test("two hosts, the first one takes connections and is silent: no client waits a second more", async () => {
    // With the times people get who write none: they are the promise here.
    await using deaf = await Deaf.listen();
    await nobodyWaits(`127.0.0.1:${deaf.port}`);
    assert.ok(deaf.met > 0, "nobody asked it");
  });
});

test("a server with slapd: people and groups of the directory get mail, an outage is 451, and it recovers", {
  skip: slapdMissing(),
}, async () => {
  const people = [
    { uid: "eve", mail: "eve@object.example", password: "x" },
    { uid: "finn", mail: "finn@object.example", password: "x" },
  ];
  const group = `dn: cn=crew,${LDAP_BASE}\nobjectClass: groupOfNames\ncn: crew\n${people
    .map(({ uid }) => `member: uid=${uid},ou=people,${LDAP_BASE}\n`)
    .join("")}`;
  await using slapd = await Slapd.start(people, await selfSigned("ldap.example.org"), group);
  const directory = {
    name: "directory",
    servers: [`ldap://127.0.0.1:${slapd.port}`],
    credentialsSecretName: "reader",
    cache: { entries: 0 },
    searches: [
      {
        role: "Mailboxes",
        base: LDAP_BASE,
        filter: "(&(objectClass=inetOrgPerson)(mail=%s))",
        resultAttributes: ["uid"],
      },
      {
        role: "Aliases",
        base: LDAP_BASE,
        filter: "(&(objectClass=groupOfNames)(cn=%u))",
        resultAttributes: ["mail"],
        referenceAttributes: ["member"],
      },
    ],
  };
  await using boat = await Packetboat.start({
    "all.yaml":
      manifest({ ldap: [directory] }) + secret("reader", { username: LDAP_READER.dn, password: LDAP_READER.password }),
  });
  assert.match(await rcpt(boat, "eve+tag@object.example"), /^250 /);
  assert.match(await rcpt(boat, "*@object.example"), /^550 5\.1\.1 /);
  assert.match(await rcpt(boat, "nobody@object.example"), /^550 5\.1\.1 /);
  assert.match(await send(boat, ["crew@object.example"], "for the crew"), /^250 /);
  await until("mail of both", 20_000, () => people.every(({ mail }) => has(boat, mail, "for the crew")));
  await slapd.stop();
  assert.match(await rcpt(boat, "eve@object.example"), /^451 4\.3\.0 /);
  assert.match(await rcpt(boat, "amy@object.example"), /^250 /);
  await slapd.run();
  assert.match(await rcpt(boat, "eve@object.example"), /^250 /);
});
