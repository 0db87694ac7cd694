import assert from "node:assert/strict";
import { test } from "node:test";
import { aMailServer } from "../../crds/builders.ts";
import { buildDesired } from "./build.ts";
import { clientService, podService } from "./network-objects.ts";
import { serviceListeners } from "./listeners.ts";
import { aWorld } from "./sample-world.ts";
import { objectKey } from "./world.ts";

type Spec = NonNullable<NonNullable<Parameters<typeof aMailServer>[0]>["spec"]>;

function built(spec: Spec) {
  const server = aMailServer({ spec });
  const { config, verdicts } = buildDesired(aWorld({ server }));
  const verdict = verdicts.get(objectKey(server));
  assert.ok(verdict !== undefined);
  return { listeners: config.server.listeners, debugPeers: config.server.debugPeers, verdict };
}

test("a listener of a content filter: no TLS unless it is asked for, its peers and addresses in canonical form", () => {
  const { listeners, verdict } = built({
    listeners: [
      {
        name: "filtered",
        role: "Reinject",
        port: 10025,
        trustedProxies: ["10.1.0.0/16", "2001:DB8::/32", "10.1.0.0/16"],
        addresses: ["2001:DB8:0::1", "0.0.0.0"],
        etrn: false,
      },
    ],
  });
  assert.deepEqual(listeners, [
    {
      name: "filtered",
      role: "Reinject",
      port: 10025,
      tls: { mode: "None", required: false, clientCertificates: "Ignore", receivedHeader: true },
      addresses: ["0.0.0.0", "2001:db8::1"],
      trustedProxies: ["10.1.0.0/16", "2001:db8::/32"],
      etrn: false,
    },
  ]);
  assert.deepEqual(verdict, { accepted: true, warnings: [] });
});

test("what is not said is not there", () => {
  const [listener] = built({ listeners: [{ name: "mx", role: "MX", port: 25 }] }).listeners;
  assert.deepEqual(Object.keys(listener ?? {}).sort(), ["name", "port", "role", "tls"]);
});

test("what is no network or address is said and left out; nothing else is trusted instead", () => {
  const { listeners, verdict } = built({
    listeners: [{ name: "mx", role: "MX", port: 25, trustedProxies: ["10.1.2.3/16"], addresses: ["300.1.1.1"] }],
  });
  assert.deepEqual([listeners[0]?.trustedProxies, listeners[0]?.addresses], [[], []]);
  assert.ok(!verdict.accepted);
  assert.match(verdict.message, /"10\.1\.2\.3\/16" in spec\.listeners\[0\]\.trustedProxies is not a network/);
  assert.match(verdict.message, /"300\.1\.1\.1" in spec\.listeners\[0\]\.addresses is not an IP address/);
});

test("a listener of filters that nobody may use is warned of", () => {
  const listeners: Spec["listeners"] = [{ name: "filtered", role: "Reinject", port: 10025 }];
  assert.match(built({ listeners }).verdict.warnings.join(), /Nobody may use listener filtered/);
  assert.deepEqual(built({ listeners, networks: { trusted: ["10.1.0.0/16"] } }).verdict.warnings, []);
});

test("content filters come in by the headless Service, not by one that faces the world", () => {
  const ports = (manifest: { readonly spec?: unknown }): number[] =>
    (manifest.spec as { readonly ports: readonly { readonly port: number }[] }).ports.map(({ port }) => port);
  const listeners: Spec["listeners"] = [
    { name: "mx", role: "MX", port: 25 },
    { name: "filtered", role: "Reinject", port: 10025 },
  ];
  for (const [type, facing] of [
    ["ClusterIP", [25, 10025]],
    ["NodePort", [25]],
    ["LoadBalancer", [25]],
  ] as const) {
    const server = aMailServer({ spec: { listeners, service: { type } } });
    assert.deepEqual(ports(clientService(server, serviceListeners(server))), facing, type);
    assert.ok(ports(podService(server, serviceListeners(server))).includes(10025), type);
  }
});

test("peers to look at", () => {
  const { debugPeers, verdict } = built({
    debug: { peers: ["192.0.2.0/24", "2001:DB8::1", "Mail.Example.ORG", ".Example.NET", "192.0.2.1"] },
  });
  assert.deepEqual(debugPeers, [".example.net", "192.0.2.0/24", "192.0.2.1/32", "2001:db8::1/128", "mail.example.org"]);
  assert.equal(verdict.accepted, true);
  const wrong = built({ debug: { peers: ["192.0.2.1/24", "192.0.2.300"] } });
  assert.deepEqual(wrong.debugPeers, []);
  assert.ok(!wrong.verdict.accepted);
  assert.match(wrong.verdict.message, /"192\.0\.2\.300" in spec\.debug\.peers is neither a network nor a name/);
});
