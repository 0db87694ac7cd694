import assert from "node:assert/strict";
import { connect } from "node:net";
import { once } from "node:events";
import { test } from "node:test";
import { bindingsOf } from "./addresses.ts";
import { aConfig, aListener, aServer, TestClient } from "./inbound-fixture.ts";

const cases: readonly (readonly [
  wanted: readonly string[] | undefined,
  allowed: readonly string[],
  bound: readonly string[],
  refused?: readonly string[],
])[] = [
  [undefined, ["::"], [":: both"]],
  [undefined, ["0.0.0.0", "::1"], ["0.0.0.0 both", "::1 both"]],
  [["::"], ["::"], ["::"]],
  [["0.0.0.0"], ["::"], ["0.0.0.0"]],
  [["0.0.0.0", "::"], ["::"], ["0.0.0.0", "::"]],
  [["192.0.2.1", "2001:db8::1"], ["::"], ["192.0.2.1", "2001:db8::1"]],
  [["192.0.2.1", "0.0.0.0"], ["::"], ["0.0.0.0"]],
  [["2001:db8::1"], ["0.0.0.0"], [], ["2001:db8::1"]],
  // The command line has the last word.
  [["0.0.0.0"], ["127.0.0.1"], ["127.0.0.1"]],
  [["::"], ["127.0.0.1"], [], ["::"]],
  [["192.0.2.1"], ["127.0.0.1"], [], ["192.0.2.1"]],
  [["127.0.0.1"], ["127.0.0.1", "::1"], ["127.0.0.1"]],
  [[], ["::"], []],
];
test("what is bound", () => {
  for (const [wanted, allowed, bound, refused = []] of cases) {
    const { bindings, refused: not } = bindingsOf(wanted, allowed);
    const told = bindings.map(
      ({ address, ipv6Only }) =>
        (wanted === undefined ? `${address} both` : address) + (ipv6Only && address !== "::" ? " only" : ""),
    );
    assert.deepEqual([told, not], [bound, refused], JSON.stringify([wanted, allowed]));
  }
});

test("a listener answers on its addresses, and on no other", async () => {
  await using server = await aServer(
    aConfig({}, { listeners: [aListener({ addresses: ["127.0.0.5", "127.0.0.6"] })] }),
    {
      addresses: ["0.0.0.0"],
    },
  );
  const ports = server.inbound.ports();
  assert.deepEqual(
    ports.map(({ address }) => address),
    ["127.0.0.5", "127.0.0.6"],
  );
  for (const { address, port } of ports) {
    const client = await TestClient.connect(port, { host: address });
    assert.match((await client.line()) ?? "", /^220 /);
  }
  const other = connect({ host: "127.0.0.7", port: ports[0]?.port ?? 0 });
  const [error] = (await once(other, "error")) as [NodeJS.ErrnoException];
  assert.equal(error.code, "ECONNREFUSED");
  // Taken away: the other one stays open.
  await server.reconfigure(aConfig({}, { listeners: [aListener({ addresses: ["127.0.0.6"] })] }));
  assert.deepEqual(server.inbound.ports(), [ports[1]]);
});

test("an address beyond the command line's is said and left out", async () => {
  await using server = await aServer(
    aConfig({}, { listeners: [aListener({ addresses: ["127.0.0.1", "192.0.2.1"] })] }),
  );
  assert.deepEqual(
    server.inbound.ports().map(({ address }) => address),
    ["127.0.0.1"],
  );
  assert.ok(
    server.lines.some(({ event, refused }) => event === "listener-address-refused" && String(refused) === "192.0.2.1"),
  );
});
