/**
 * Logins against real back ends: Mailbox objects, a real slapd, a real Dovecot, all three behind one listener; what each outage means, and that nobody has to restart
 * anything when it is over. RFC 4954, RFC 5802.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ScramClient } from "../../server/config/scram-client-fixture.ts";
import { type KeyPair, selfSigned } from "../peers/certificates.ts";
import { DovecotAuth, dovecotAuthMissing } from "../peers/dovecot-auth.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { LDAP_BASE, LDAP_READER, Slapd, slapdMissing } from "../peers/slapd.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, secret } from "./manifests.ts";

const PASSWORD = "a-test-password";
const plain = (user: string, password: string): string =>
  `AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString("base64")}`;
const login = (user: string, password: string): string[] => [
  "AUTH LOGIN",
  Buffer.from(user).toString("base64"),
  Buffer.from(password).toString("base64"),
];

describe("authentication", { skip: dovecotAuthMissing() ?? slapdMissing() ?? false }, () => {
  let boat: Packetboat;
  let dovecot: DovecotAuth;
  let slapd: Slapd;
  let directory: KeyPair;

  const manifest = (ldap: object = {}): string =>
    object("MailServer", "mx", {
      hostname: "mx.example.org",
      limits: { softErrors: 1000, hardErrors: 1000 },
      authentication: {
        mechanisms: ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1"],
        ldap: {
          urls: [`ldap://localhost:${slapd.port}`, `ldaps://localhost:${slapd.tlsPort}`],
          caSecretName: "ldap-ca",
          bindSecretName: "ldap-reader",
          baseDN: `ou=people,${LDAP_BASE}`,
          filter: "(&(objectClass=inetOrgPerson)(|(mail=%s)(uid=%s)))",
          addressAttribute: "mail",
          timeout: "3s",
          ...ldap,
        },
        dovecot: { socketPath: dovecot.socket, timeout: "5s" },
        failures: { perClient: 0, perUser: 0 },
      },
    });

  before(async () => {
    directory = await selfSigned("localhost");
    dovecot = await DovecotAuth.start({
      "dora@example.org": "dora's password",
      // Mailbox objects have the last word on these.
      "suspended@example.org": PASSWORD,
      "disabled@example.org": PASSWORD,
    });
    slapd = await Slapd.start(
      [
        { uid: "lena", mail: "Lena@example.org", password: "lena's password" },
        { uid: "lars", mail: "lars@example.org", password: "ä €uro" },
      ],
      directory,
    );
    const mailbox = (name: string, spec: object = {}): string =>
      object("Mailbox", name, { address: `${name}@example.org`, domainRef: { name: "ours" }, ...spec });
    boat = await Packetboat.start({
      "server.yaml": manifest(),
      "all.yaml":
        object("MailDomain", "ours", {
          domain: "example.org",
          serverRef: { name: "mx" },
          class: "Mailbox",
          delivery: { maildir: {} },
        }) +
        mailbox("alice", { passwordSecretRef: { name: "alice" } }) +
        mailbox("dora") +
        mailbox("lena") +
        mailbox("suspended", { suspended: true }) +
        mailbox("disabled", { authentication: "Disabled" }) +
        secret("alice", { password: PASSWORD }) +
        secret("ldap-reader", { username: LDAP_READER.dn, password: LDAP_READER.password }) +
        secret("ldap-ca", { "ca.crt": directory.certificate }),
    });
  });
  after(async () => {
    for (const peer of [boat, dovecot, slapd]) await peer?.[Symbol.asyncDispose]();
  });

  const greeted = async (): Promise<SmtpDialogue> => {
    const client = await SmtpDialogue.open(boat.submissions, { tls: true });
    assert.match(await client.reply(), /^220 /);
    return client;
  };
  /** The reply to the last line, of a session of its own. */
  const answer = async (...lines: readonly string[]): Promise<string> => {
    await using client = await greeted();
    await client.command("EHLO client.example.net");
    let reply = "";
    for (const line of lines) reply = await client.command(line);
    return reply;
  };
  const WRONG = "535 5.7.8 Authentication credentials invalid";

  test("every back end lets its users in, by PLAIN and by LOGIN, and each may write as itself only", async () => {
    for (const [name, password, user] of [
      ["alice@example.org", PASSWORD, "alice@example.org"],
      ["lena@example.org", "lena's password", "lena@example.org"],
      ["lena", "lena's password", "lena@example.org"],
      ["lars", "ä €uro", "lars@example.org"],
      ["dora@example.org", "dora's password", "dora@example.org"],
    ] as const) {
      for (const lines of [[plain(name, password)], login(name, password)]) {
        assert.match(await answer(...lines), /^235 2\.7\.0 /, name);
        assert.match(await answer(...lines, `MAIL FROM:<${user}>`), /^250 2\.1\.0 /, name);
        assert.match(await answer(...lines, "MAIL FROM:<somebody@example.org>"), /^553 5\.7\.1 /, name);
      }
    }
  });

  test("one answer to everything that is wrong", async () => {
    for (const [name, password] of [
      ["alice@example.org", "wrong"],
      ["lena@example.org", "wrong"],
      // A bind without a password would be anonymous, and succeed.
      ["lena@example.org", ""],
      ["dora@example.org", "wrong"],
      ["dora@example.org", ""],
      ["nobody@example.org", PASSWORD],
      ["*", "lena's password"],
      ["lena)(uid=*", "lena's password"],
      ["l*", "lena's password"],
      ["suspended@example.org", PASSWORD],
      ["disabled@example.org", PASSWORD],
      ["dora@example.org", "dora's password\tnologin"],
    ] as const)
      assert.equal(await answer(...login(name, password)), WRONG, `${name} ${password}`);
  });

  test("SCRAM: ours for mailboxes, Dovecot's passed through for what we do not have", async () => {
    await using client = await greeted();
    const hello = await client.command("EHLO client.example.net");
    assert.match(hello, /^250-AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS SCRAM-SHA-1$/m);
    const scram = new ScramClient({ username: "alice@example.org", password: PASSWORD });
    const first = await client.command(`AUTH SCRAM-SHA-256 ${scram.first()}`);
    const final = await client.command(scram.final(first.slice(4)));
    assert.ok(scram.trusts(final.slice(4)), final);
    assert.match(await client.command(""), /^235 /);
    // The client's part of SCRAM-SHA-1 is not ours to write: Dovecot's challenge and its refusal show that it was asked.
    const asked = await answer(`AUTH SCRAM-SHA-1 ${Buffer.from("n,,n=dora@example.org,r=abcdef").toString("base64")}`);
    assert.match(Buffer.from(asked.slice(4), "base64").toString(), /^r=abcdef.+,s=.+,i=\d+$/);
    const refused = await answer(
      `AUTH SCRAM-SHA-1 ${Buffer.from("n,,n=dora@example.org,r=abcdef").toString("base64")}`,
      Buffer.from("c=biws,r=abcdef,p=AAAA").toString("base64"),
    );
    assert.equal(refused, WRONG);
  });

  test("Dovecot gone: nobody hears 535, its users are told to wait, others get in; back again without a restart", async () => {
    await dovecot.stop();
    assert.match(await answer(plain("dora@example.org", "dora's password")), /^454 4\.7\.0 /);
    assert.match(await answer(plain("dora@example.org", "wrong")), /^454 4\.7\.0 /);
    assert.match(await answer(plain("nobody@example.org", "wrong")), /^454 4\.7\.0 /);
    assert.match(await answer(plain("alice@example.org", PASSWORD)), /^235 /);
    assert.match(await answer(plain("lena@example.org", "lena's password")), /^235 /);
    await dovecot.run();
    assert.match(await answer(plain("dora@example.org", "dora's password")), /^235 /);
    assert.equal(await answer(plain("dora@example.org", "wrong")), WRONG);
  });

  test("the directory gone: the same; back again without a restart", async () => {
    await slapd.stop();
    assert.match(await answer(plain("lena@example.org", "lena's password")), /^454 4\.7\.0 /);
    assert.match(await answer(plain("nobody@example.org", "wrong")), /^454 4\.7\.0 /);
    // Dovecot still says yes, after the directory could not tell.
    assert.match(await answer(plain("dora@example.org", "dora's password")), /^235 /);
    await slapd.run();
    assert.match(await answer(plain("lena@example.org", "lena's password")), /^235 /);
    assert.equal(await answer(plain("lena@example.org", "wrong")), WRONG);
  });

  test("a directory that cannot be asked safely, or at all, is an outage: 454", async () => {
    const first = { urls: [`ldap://localhost:${slapd.port}`] };
    for (const [why, change] of [
      ["the name is not that of its certificate", { urls: [`ldap://127.0.0.1:${slapd.port}`] }],
      ["nor over ldaps", { urls: [`ldaps://127.0.0.1:${slapd.tlsPort}`] }],
      ["an authority that did not sign it", { ...first, caSecretName: "missing" }],
      ["a Secret that is missing", { ...first, bindSecretName: "missing" }],
      ["a filter that finds two", { ...first, filter: "(|(uid=%s)(uid=*))" }],
    ] as const) {
      await boat.configure("server.yaml", manifest(change));
      await until(why, 10_000, async () =>
        (await answer(plain("lena@example.org", "lena's password"))).startsWith("454 4.7.0"),
      );
      assert.match(await answer(plain("alice@example.org", PASSWORD)), /^235 /, why);
    }
    // Two servers, the first one dead: the second answers.
    boat.write("server.yaml", manifest({ urls: ["ldap://localhost:1", `ldaps://localhost:${slapd.tlsPort}`] }));
    await until("the second server", 10_000, async () =>
      (await answer(plain("lena@example.org", "lena's password"))).startsWith("235 "),
    );
  });

  test("no password is in any log", () => {
    const log = JSON.stringify(boat.log()) + boat.output;
    assert.match(log, /auth-failed/);
    for (const word of [PASSWORD, "lena's password", "dora's password", LDAP_READER.password])
      for (const form of [word, Buffer.from(word).toString("base64").replace(/=+$/, "")])
        assert.ok(!log.includes(form), `the log holds ${form}`);
  });
});
