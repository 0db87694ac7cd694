/** The contract between operator and server: what is written is read, the same content gives the same bytes, and nothing half-written is taken. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { addressKey, domainKey } from "./address.ts";
import { canonicalJson } from "./canonical.ts";
import { renderFiles, sliceOf } from "./files.ts";
import { loadConfig, ParsedFiles } from "./load.ts";
import { packConfig, unpackConfig } from "./packed.ts";
import { aRenderedConfig } from "./sample.ts";
import type { AddressEntry, LiveConfig, RenderedConfig } from "./schema.ts";

function write(files: ReadonlyMap<string, string>): {
  readonly directory: string;
  readonly [Symbol.dispose]: () => void;
} {
  const directory = mkdtempSync(join(tmpdir(), "packetboat-config-"));
  for (const [name, content] of files) writeFileSync(join(directory, name), content);
  return { directory, [Symbol.dispose]: () => rmSync(directory, { recursive: true }) };
}

const key = fc.stringMatching(/^[a-z0-9._-]{1,20}@[a-z0-9]{1,10}\.[a-z]{2,3}$/);
const entry: fc.Arbitrary<AddressEntry> = fc.record(
  {
    alias: fc.record(
      { destinations: fc.array(key, { maxLength: 3 }), senders: fc.constant([]) },
      { noNullPrototype: true },
    ),
  },
  { noNullPrototype: true },
);
const addresses = fc.dictionary(fc.oneof(key, fc.constantFrom("constructor", "toString", "hasOwnProperty")), entry, {
  maxKeys: 30,
});

test("what the operator writes, the server reads; shuffled input gives the same bytes", async () => {
  await fc.assert(
    fc.asyncProperty(addresses, fc.integer({ min: 1, max: 12 }), async (table, slices) => {
      const config = aRenderedConfig();
      const rendered: RenderedConfig = { ...config, slices, tables: { ...config.tables, addresses: table } };
      const files = renderFiles(rendered);
      const shuffled = renderFiles({
        ...rendered,
        tables: { ...rendered.tables, addresses: Object.fromEntries(Object.entries(table).reverse()) },
      });
      assert.deepEqual([...shuffled], [...files]);
      using folder = write(files);
      const result = await loadConfig(folder.directory);
      assert.equal(result.kind, "loaded");
      if (result.kind !== "loaded") return;
      assert.deepEqual(result.config.server, rendered.server);
      assert.deepEqual([...result.config.addresses.keys()].sort(), Object.keys(table).sort());
      for (const [name, value] of result.config.addresses) assert.deepEqual(value, table[name]);
      assert.deepEqual(await loadConfig(folder.directory, result.config.hash), { kind: "unchanged" });
    }),
    { numRuns: 60 },
  );
});

test("one changed address changes one slice and the manifest", () => {
  const config = aRenderedConfig();
  const before = renderFiles(config);
  const alias: AddressEntry = { alias: { destinations: ["alice@example.org"], senders: [] } };
  const after = renderFiles({
    ...config,
    tables: { ...config.tables, addresses: { ...config.tables.addresses, "new@example.org": alias } },
  });
  const changed = [...after].filter(([name, content]) => before.get(name) !== content).map(([name]) => name);
  assert.deepEqual(changed.sort(), [
    "manifest.json",
    `table-${String(sliceOf("new@example.org", config.slices)).padStart(2, "0")}.json`,
  ]);
});

const spoilings: readonly {
  readonly name: string;
  readonly spoil: (files: Map<string, string>) => void;
  readonly kind: string;
  readonly says: RegExp;
}[] = [
  {
    name: "a slice that has not arrived",
    spoil: (files) => files.delete("table-01.json"),
    kind: "incomplete",
    says: /table-01\.json cannot be read: ENOENT/,
  },
  {
    name: "a slice of another version",
    spoil: (files) => files.set("table-01.json", "{}"),
    kind: "incomplete",
    says: /table-01\.json is not yet the version/,
  },
  {
    name: "no manifest",
    spoil: (files) => files.delete("manifest.json"),
    kind: "incomplete",
    says: /manifest\.json cannot be read/,
  },
  {
    name: "a cut manifest",
    spoil: (files) => files.set("manifest.json", '{"version":1,'),
    kind: "invalid",
    says: /manifest\.json is not JSON/,
  },
  {
    name: "a newer contract",
    spoil: (files) => files.set("manifest.json", '{"version":2}'),
    kind: "invalid",
    says: /version 2; this server reads version 1/,
  },
];
for (const { name, spoil, kind, says } of spoilings) {
  test(`not taken: ${name}`, async () => {
    const files = renderFiles(aRenderedConfig());
    spoil(files);
    using folder = write(files);
    const result = await loadConfig(folder.directory, "0".repeat(64));
    assert.equal(result.kind, kind);
    assert.match("message" in result ? result.message : "", says);
  });
}

test("with what was parsed before, only what changed is parsed, and the result is the same", async () => {
  const config = aRenderedConfig();
  const alias: AddressEntry = { alias: { destinations: ["alice@example.org"], senders: [] } };
  const with_ = (addresses: Record<string, AddressEntry>): Map<string, string> =>
    renderFiles({ ...config, tables: { ...config.tables, addresses: { ...config.tables.addresses, ...addresses } } });
  const elsewhere = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
    .map((name) => `${name}@example.org`)
    .find((address) => sliceOf(address, config.slices) !== sliceOf("new@example.org", config.slices));
  assert.ok(elsewhere !== undefined);
  const parsed = new ParsedFiles();
  const load = async (files: Map<string, string>): Promise<LiveConfig> => {
    using folder = write(files);
    const [result, fresh] = [
      await loadConfig(folder.directory, undefined, { parsed }),
      await loadConfig(folder.directory),
    ];
    assert.ok(result.kind === "loaded" && fresh.kind === "loaded");
    assert.deepEqual({ ...result.config, loadedAtMs: 0 }, { ...fresh.config, loadedAtMs: 0 });
    return result.config;
  };
  const first = await load(with_({ [elsewhere]: alias, "new@example.org": alias }));
  const changed: AddressEntry = { alias: { destinations: ["bob@example.org"], senders: [] } };
  const second = await load(with_({ [elsewhere]: alias, "new@example.org": changed }));
  assert.equal(second.addresses.get(elsewhere), first.addresses.get(elsewhere));
  assert.deepEqual(second.addresses.get("new@example.org"), changed);
  const torn = with_({ "new@example.org": alias });
  torn.set("table-01.json", "{}");
  using broken = write(torn);
  assert.equal((await loadConfig(broken.directory, undefined, { parsed })).kind, "incomplete");
  assert.equal((await load(with_({ [elsewhere]: alias }))).addresses.get("new@example.org"), undefined);
});

test("the set that runs, gone bad on disk: unseen by its manifest, seen by a look at the whole", async () => {
  const files = renderFiles(aRenderedConfig());
  using folder = write(files);
  const loaded = await loadConfig(folder.directory);
  assert.equal(loaded.kind, "loaded");
  const hash = loaded.kind === "loaded" ? loaded.config.hash : "";
  assert.deepEqual(await loadConfig(folder.directory, hash, { whole: true }), { kind: "unchanged" });
  writeFileSync(join(folder.directory, "table-03.json"), "garbage");
  assert.deepEqual(await loadConfig(folder.directory, hash), { kind: "unchanged" });
  const whole = await loadConfig(folder.directory, hash, { whole: true });
  assert.equal(whole.kind, "incomplete");
  assert.match("message" in whole ? whole.message : "", /^table-03\.json is not yet the version/);
});

test("a configuration goes through JSON and back", async () => {
  using folder = write(renderFiles(aRenderedConfig()));
  const loaded = await loadConfig(folder.directory);
  assert.ok(loaded.kind === "loaded");
  const sent = JSON.parse(JSON.stringify(packConfig(loaded.config))) as ReturnType<typeof packConfig>;
  assert.deepEqual(unpackConfig(sent), loaded.config);
});

test("a secret never enters the message of a refusal", async () => {
  const files = renderFiles(aRenderedConfig());
  files.set("secret-00.json", '{"passwords":{"a@b.c":"hunter2"');
  using folder = write(files);
  const result = await loadConfig(folder.directory);
  assert.doesNotMatch(JSON.stringify(result), /hunter2/);
});

test("the writer refuses what the reader could not read", () => {
  const config = aRenderedConfig();
  assert.throws(() =>
    renderFiles({ ...config, server: { ...config.server, limits: { ...config.server.limits, recipients: 5 } } }),
  );
});

test("canonical JSON: keys sorted at every depth, undefined left out, no numbers that JSON cannot say", () => {
  assert.equal(canonicalJson({ b: [{ d: 1, c: undefined, a: "x" }], a: null }), '{"a":null,"b":[{"a":"x","d":1}]}');
  assert.throws(() => canonicalJson({ a: Number.NaN }), /cannot hold NaN/);
  assert.throws(() => canonicalJson({ a: () => 1 }), /cannot hold a function/);
});

test("keys of addresses and domains", () => {
  const rows: readonly [string, string | undefined][] = [
    ["Alice@Example.ORG", "alice@example.org"],
    ['"a.b"@example.org', "a.b@example.org"],
    ['"a\\"b@c"@example.org', 'a"b@c@example.org'],
    ["@Example.org", "@example.org"],
    ["a@bücher.example", "a@xn--bcher-kva.example"],
    ["a@example.org.", "a@example.org"],
    ["a@[192.0.2.1]", "a@[192.0.2.1]"],
    ["no-at-sign", undefined],
    ["a@", undefined],
    ["a@ex ample.org", undefined],
    ["a@example..org", undefined],
  ];
  for (const [address, expected] of rows) assert.equal(addressKey(address), expected, address);
  assert.equal(domainKey("EXAMPLE.org."), "example.org");
});
