/** The one question over several sources, with inline tables as sources; what a recipient leads to; what a new configuration takes over. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { once } from "node:events";
import { test } from "node:test";
import type { LookupRole, LookupSource } from "../config/lookups.ts";
import { createLog } from "../observe/log.ts";
import { LookupUnavailable } from "./lookup.ts";
import { addressesOf, createLookups, type LookupConfig, type Lookups } from "./lookups.ts";
import { encodeNetstring } from "./netstring.ts";
import { recipientFacts } from "./recipient.ts";
import { accessAddressKeys } from "./search-order.ts";

const log = createLog("test", "silent");
const config = (...lookups: LookupSource[]): LookupConfig => ({
  server: { lookups },
  credentials: new Map(),
  authorities: new Map(),
  certificates: new Map(),
});
const table = (name: string, roles: LookupRole[], text: string, type: "Hash" | "Regexp" = "Hash"): LookupSource => ({
  kind: "table",
  name,
  type,
  text,
  roles,
});
const down = (name: string, roles: LookupRole[]): LookupSource => ({ kind: "unusable", name, roles, reason: "a test" });

test("sources in their order, keys from special to general; patterns see the whole key only", async () => {
  const lookups = createLookups(
    config(
      table("exact", ["access"], "example.org domain\nbob@ name\n"),
      table("patterns", ["access"], "/^eve@/ pattern\n/^example\\.org$/ never\n/^other\\.example$/ never\n", "Regexp"),
      table("named", [], "a b\n"),
    ),
    log,
  );
  const ask = async (address: string): Promise<string | undefined> => {
    const answer = await lookups.first("access", accessAddressKeys(address, "+"));
    return answer === undefined ? undefined : `${answer.lookup}: ${answer.values.join()}`;
  };
  assert.equal(await ask("eve@example.org"), "patterns: pattern");
  assert.equal(await ask("Bob@example.org"), "exact: domain");
  assert.equal(await ask("bob+x@other.example"), "exact: name");
  assert.equal(await ask("x@other.example"), undefined);
  assert.equal(lookups.table("named")?.find("A"), "b");
  assert.equal(lookups.table("nobody"), undefined);
  assert.deepEqual([lookups.has("access"), lookups.has("domains")], [true, false]);
  assert.equal(await lookups.first("domains", "example.org"), undefined);
});

test("an outage ends the question unless an earlier source has answered", async () => {
  const lookups = createLookups(
    config(table("first", ["aliases"], "a@x b@x\n"), down("db", ["aliases"]), table("last", ["aliases"], "c@x d@x\n")),
    log,
  );
  assert.deepEqual((await lookups.first("aliases", "a@x"))?.values, ["b@x"]);
  await assert.rejects(
    lookups.first("aliases", "c@x"),
    (cause) => cause instanceof LookupUnavailable && cause.scope === "source",
  );
  assert.deepEqual((await lookups.first("aliases", ["a@x", "@x"]))?.values, ["b@x"]);
  await assert.rejects(lookups.first("aliases", ["nobody@x", "a@x"]), LookupUnavailable);
});

test("a source whose Secret is missing is an outage, not a source without a password", async () => {
  const mysql: LookupSource = {
    kind: "mysql",
    name: "db",
    cache: { entries: 0, ttlMs: 0, negativeTtlMs: 0 },
    connectTimeoutMs: 100,
    timeoutMs: 100,
    hosts: [{ host: "127.0.0.1", port: 1 }],
    database: "d",
    credentials: "default/db",
    connections: 1,
    queries: { domains: { query: "SELECT 1", resultFormat: "%s", domains: [], expansionLimit: 1 } },
  };
  const lookups = createLookups(config(mysql), log);
  await assert.rejects(lookups.first("domains", "x"), /db: Secret default\/db is missing/);
});

test("a recipient: alias, mailbox, extension, an alias to itself, catch-all, unknown, not ours", async () => {
  const lookups = createLookups(
    config(
      table("d", ["domains"], "example.org 1\nopen.example 1\n"),
      table("m", ["mailboxes"], "bob@example.org 1\neve@example.org 1\neve+x@example.org 1\nzoe@open.example 1\n"),
      table(
        "a",
        ["aliases"],
        'team@example.org bob@example.org, "a,b"@example.org\nbob@example.org Bob@Example.org\neve@example.org eve@example.org, bob@example.org\n@open.example bob@example.org\n',
      ),
    ),
    log,
  );
  const ask = async (address: string, domainIsOurs = false): Promise<string> => {
    const facts = await recipientFacts(lookups, { address, delimiters: "+", domainIsOurs });
    if (facts.kind === "alias") return `${facts.catchAll ? "catch-all" : "alias"} ${facts.destinations.join(" ")}`;
    return facts.kind === "mailbox" ? `mailbox ${facts.key}` : facts.kind;
  };
  const rows: [address: string, leads: string][] = [
    ["team@example.org", 'alias bob@example.org "a,b"@example.org'],
    ["bob@example.org", "mailbox bob@example.org"],
    ["bob+lists@example.org", "mailbox bob@example.org"],
    ["eve@example.org", "alias eve@example.org bob@example.org"],
    ["eve+x@example.org", "mailbox eve+x@example.org"],
    ["nobody@example.org", "unknown"],
    ["zoe@open.example", "mailbox zoe@open.example"],
    ["nobody@open.example", "catch-all bob@example.org"],
    ["bob@elsewhere.example", "not-ours"],
  ];
  for (const [address, leads] of rows) assert.equal(await ask(address), leads, address);
  assert.equal(await ask("x@elsewhere.example", true), "unknown");
});

test("a new configuration takes over what did not change, connections included, and drops the rest", async () => {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.on("error", () => undefined);
    socket.on("data", () => socket.write(encodeNetstring("OK yes")));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = address === null || typeof address === "string" ? 0 : address.port;
  const socketmap = (timeoutMs: number): LookupSource => ({
    kind: "socketmap",
    name: "sts",
    cache: { entries: 0, ttlMs: 0, negativeTtlMs: 0 },
    connectTimeoutMs: 1000,
    timeoutMs,
    hosts: [{ host: "127.0.0.1", port }],
    connections: 2,
    maps: { tlsPolicies: "m" },
  });
  const ask = async (lookups: Lookups): Promise<string | undefined> =>
    (await lookups.first("tlsPolicies", "x"))?.values[0];
  const one = createLookups(config(socketmap(1000)), log);
  assert.equal(await ask(one), "yes");
  const two = createLookups(config(table("new", ["domains"], "a b\n"), socketmap(1000)), log, one);
  await one.close();
  assert.equal(await ask(two), "yes");
  assert.equal(connections, 1);
  const three = createLookups(config(socketmap(2000)), log, two);
  await two.close();
  assert.equal(await ask(three), "yes");
  assert.equal(connections, 2);
  await three.close();
  server.close();
  await once(server, "close");
});

test("lists of addresses: commas, quotes, blanks", () => {
  assert.deepEqual(addressesOf(['a@x, "b, c"@y ,,', "d@z", ""]), ["a@x", '"b, c"@y', "d@z"]);
  assert.deepEqual(addressesOf(['"never closed, a@x']), ["never closed", "a@x"]);
});
