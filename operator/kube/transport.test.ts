/** One request, one answer, whatever the server does. */
import "reflect-metadata";
import assert from "node:assert/strict";
import type { webcrypto } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createTlsServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { TLSSocket } from "node:tls";
import * as x509 from "@peculiar/x509";
import type { Connection } from "./connection.ts";
import { fromKubeConfig, inCluster } from "./connection.ts";
import { FaultServer, json, status, until } from "./fault-server.ts";
import { ManualClock } from "./manual-clock.ts";
import { StreamBroken, Transport, type TransportOptions } from "./transport.ts";

const closers: (() => unknown)[] = [];
after(async () => {
  for (const close of closers) await close();
});

async function world(options: Partial<TransportOptions> = {}) {
  const server = await FaultServer.start();
  const transport = new Transport({ connection: server.connection(), ...options });
  closers.push(
    () => transport.close(),
    () => server.close(),
  );
  return { server, transport };
}

const get = { method: "GET", path: "/api/v1/configmaps" } as const;

describe("request", () => {
  it("says who it is and as whom", async () => {
    const { server, transport } = await world();
    assert.equal((await transport.request(get)).ok, true);
    const { headers } = server.seen[0] as NonNullable<(typeof server.seen)[0]>;
    assert.match(headers["user-agent"] ?? "", /^packetboat-operator\/\d+\.\d+\.\d+/);
    assert.equal(headers.authorization, "Bearer secret-token");
  });

  it("keeps the connection", async () => {
    const { server, transport } = await world();
    const ports = new Set<number | undefined>();
    for (let i = 0; i < 3; i++) {
      server.script("list", (reply) => {
        ports.add(reply.req.socket.remotePort);
        json(reply, 200, {});
      });
      await transport.request(get);
    }
    assert.equal(ports.size, 1);
  });

  /** Replies and the failures they become. */
  const replies = [
    {
      name: "a Status",
      fault: status(404, "NotFound", "gone fishing"),
      failure: { code: 404, reason: "NotFound", message: "gone fishing" },
    },
    {
      name: "a Status with causes",
      fault: status(422, "Invalid", "bad", { causes: [{ field: "spec.x", message: "no" }] }),
      failure: { code: 422, reason: "Invalid", message: "bad", causes: [{ field: "spec.x", message: "no" }] },
    },
    {
      name: "a proxy's page",
      fault: (r: import("node:http").ServerResponse) => r.writeHead(502).end("<html>"),
      failure: { code: 502, reason: "Unknown", message: "HTTP 502" },
    },
    {
      name: "a bare 503, which is not tried again",
      fault: status(503, "ServiceUnavailable", "starting"),
      failure: { code: 503, reason: "ServiceUnavailable", message: "starting" },
    },
    {
      name: "no JSON",
      fault: (r: import("node:http").ServerResponse) => r.writeHead(200).end("<html>"),
      failure: { code: 0, reason: "MalformedReply", message: "the reply is not JSON (6 characters)" },
    },
    {
      name: "no reply",
      fault: (r: import("node:http").ServerResponse) => r.destroy(),
      failure: { code: 0, reason: "ConnectionFailed", message: "GET /api/v1/configmaps: ECONNRESET" },
    },
    {
      name: "half a reply",
      fault: (r: import("node:http").ServerResponse) => {
        r.writeHead(200, { "content-length": "100" });
        r.write('{"items"', () => r.destroy());
      },
      failure: { code: 0, reason: "ConnectionFailed", message: "the reply was cut: ECONNRESET" },
    },
    {
      name: "too large a reply",
      fault: (r: import("node:http").ServerResponse) => json(r, 200, { text: "x".repeat(3000) }),
      failure: { code: 0, reason: "ReplyTooLarge", message: "the reply exceeds 2000 bytes" },
    },
  ] as const;
  for (const { name, fault, failure } of replies) {
    it(`answers with a value: ${name}`, async () => {
      const { server, transport } = await world({ maxReplyBytes: 2000 });
      server.script("list", fault);
      assert.deepEqual(await transport.request(get), { ok: false, failure });
      assert.equal(server.seen.length, 1);
    });
  }

  it("gives up at its deadline, and when told to", async () => {
    const { server, transport } = await world();
    const silent = () => undefined;
    server.script("list", silent, silent);
    const late = await transport.request({ ...get, timeoutMs: 300 });
    assert.equal(late.ok || late.failure.reason, "Timeout");
    // One that took its time to connect may have been given up before it was sent.
    const before = server.seen.length;
    const controller = new AbortController();
    const pending = transport.request({ ...get, signal: controller.signal });
    await until("it asked", () => server.seen.length === before + 1);
    controller.abort();
    const given = await pending;
    assert.equal(given.ok || given.failure.reason, "Aborted");
    const after = await transport.request({ ...get, signal: controller.signal });
    assert.equal(after.ok || after.failure.reason, "Aborted");
    assert.equal(server.seen.length, before + 1);
  });

  it("gives up on credentials that never come", async () => {
    const { server } = await world();
    const never = new Promise<never>(() => undefined);
    const transport = new Transport({ connection: { ...server.connection(), credentials: () => never } });
    const result = await transport.request({ ...get, timeoutMs: 20 });
    assert.equal(result.ok || result.failure.reason, "Timeout");
    const stream = await transport.stream({ ...get, timeoutMs: 20 }, { silenceMs: 1000 });
    assert.equal(stream.ok || stream.failure.reason, "Timeout");
  });

  it("cannot reach a server that is not there", async () => {
    const { server, transport } = await world();
    await server.close();
    const refused = await transport.request(get);
    assert.match(refused.ok ? "" : refused.failure.message, /ECONNREFUSED/);
  });
});

describe("trying again", () => {
  for (const [name, fault] of [
    ["429 with Retry-After", status(429, "TooManyRequests", "slow", {}, { "retry-after": "7" })],
    ["503 with Retry-After", status(503, "ServiceUnavailable", "slow", {}, { "retry-after": "7" })],
    ["429 with retryAfterSeconds", status(429, "TooManyRequests", "slow", { retryAfterSeconds: 7 })],
  ] as const) {
    it(`waits as long as asked: ${name}`, async () => {
      const clock = new ManualClock();
      const { server, transport } = await world({ clock });
      server.script("list", fault);
      const pending = transport.request(get);
      await until("it waits", () => clock.pending === 2);
      await clock.advance(6_999);
      assert.equal(server.seen.length, 1);
      await clock.advance(1);
      assert.equal((await pending).ok, true);
      assert.equal(server.seen.length, 2);
      assert.equal(clock.pending, 0);
    });
  }

  it("not beyond its deadline: the caller is told when", async () => {
    const { server, transport } = await world();
    server.script("list", status(429, "TooManyRequests", "slow", {}, { "retry-after": "20" }));
    const result = await transport.request({ ...get, timeoutMs: 10_000 });
    assert.deepEqual(result, {
      ok: false,
      failure: { code: 429, reason: "TooManyRequests", message: "slow", retryAfterMs: 20_000 },
    });
  });

  it("reads the credentials anew after a 401, once", async () => {
    const { server } = await world();
    const asked: boolean[] = [];
    const connection: Connection = {
      ...server.connection(),
      credentials: async (fresh) => {
        asked.push(fresh);
        return { headers: { authorization: `Bearer ${fresh ? "new" : "old"}` }, tls: {} };
      },
    };
    const transport = new Transport({ connection });
    closers.push(() => transport.close());
    server.script("list", status(401, "Unauthorized", "expired"));
    assert.equal((await transport.request(get)).ok, true);
    assert.deepEqual(
      server.seen.map((seen) => seen.headers.authorization),
      ["Bearer old", "Bearer new"],
    );
    server.script("list", status(401, "Unauthorized", "no"), status(401, "Unauthorized", "no"));
    const refused = await transport.request(get);
    assert.equal(refused.ok || refused.failure.code, 401);
    assert.deepEqual(asked, [false, true, false, true]);
  });

  it("a kept connection that died is replaced where asking twice is safe, and only there", async () => {
    const { server, transport } = await world();
    for (const [method, requests] of [
      ["GET", 2],
      ["POST", 1],
    ] as const) {
      await transport.request(get);
      const before = server.seen.length;
      server.script(method === "GET" ? "list" : "POST", (reply) => reply.destroy());
      const result = await transport.request({
        method,
        path: "/api/v1/namespaces/mail/configmaps",
        ...(method === "POST" && { body: { metadata: { name: "x" } } }),
      });
      assert.equal(result.ok, method === "GET");
      assert.equal(server.seen.length - before, requests);
    }
  });
});

describe("stream", () => {
  async function lines(
    write: (reply: import("node:http").ServerResponse) => void,
    limits = { silenceMs: 60_000, maxLineBytes: 100 },
  ) {
    const { server, transport } = await world();
    server.script("watch", (reply) => {
      reply.writeHead(200);
      write(reply);
    });
    const opened = await transport.stream({ ...get, query: { watch: 1 } }, limits);
    assert.ok(opened.ok);
    const got: string[] = [];
    try {
      for await (const line of opened.value) got.push(line);
    } catch (error) {
      assert.ok(error instanceof StreamBroken);
      return [...got, error.failure.reason];
    }
    return got;
  }
  const euro = Buffer.from('{"x":"€"}\n');

  it("puts lines together from whatever pieces come", async () => {
    const got = await lines((reply) => {
      let at = 0;
      const next = () => {
        if (at === euro.length) return void reply.end('\n{"a":1}\r\n{"b":2}\n');
        reply.write(euro.subarray(at, ++at), () => setImmediate(next));
      };
      next();
    });
    assert.deepEqual(got, ['{"x":"€"}', '{"a":1}', '{"b":2}']);
  });

  for (const [name, write, expected] of [
    [
      "the end inside a line",
      (r: import("node:http").ServerResponse) => r.end('{"a":1}\n{"b"'),
      ['{"a":1}', "TruncatedLine"],
    ],
    [
      "a cut",
      (r: import("node:http").ServerResponse) => r.write('{"a":1}\n', () => r.destroy()),
      ['{"a":1}', "ConnectionFailed"],
    ],
    ["silence", (r: import("node:http").ServerResponse) => r.write('{"a":1}\n'), ['{"a":1}', "Silence"]],
    ["a line without end", (r: import("node:http").ServerResponse) => r.write("x".repeat(101)), ["LineTooLong"]],
    ["the proper end", (r: import("node:http").ServerResponse) => r.end('{"a":1}\n'), ['{"a":1}']],
  ] as const) {
    it(`ends by name: ${name}`, async () => {
      assert.deepEqual(
        await lines(write, { silenceMs: name === "silence" ? 30 : 60_000, maxLineBytes: 100 }),
        expected,
      );
    });
  }

  it("fails like a request before it begins, also when no header ever comes", async () => {
    const { server, transport } = await world();
    server.script("watch", status(410, "Expired", "too old"), () => undefined);
    const gone = await transport.stream({ ...get, query: { watch: 1 } }, { silenceMs: 1000 });
    assert.equal(gone.ok || gone.failure.reason, "Expired");
    const mute = await transport.stream({ ...get, query: { watch: 1 }, timeoutMs: 30 }, { silenceMs: 60_000 });
    assert.equal(mute.ok || mute.failure.reason, "Timeout");
  });
});

describe("TLS", () => {
  let server: Server;
  let folder: string;
  let pki: Awaited<ReturnType<typeof makePki>>;
  const callers: { subject: string | undefined; authorization: string | undefined }[] = [];
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "packetboat-tls-"));
    pki = await makePki();
    server = createTlsServer(
      { ca: pki.ca, cert: pki.server.cert, key: pki.server.key, requestCert: true, rejectUnauthorized: false },
      (request, reply) => {
        const name = (request.socket as TLSSocket).getPeerCertificate().subject?.CN;
        callers.push({
          subject: typeof name === "string" ? name : undefined,
          authorization: request.headers.authorization,
        });
        json(reply, 200, {});
      },
    );
    const { promise, resolve } = Promise.withResolvers<void>();
    server.listen(0, "127.0.0.1", resolve);
    await promise;
  });
  after(() => {
    server.close();
    server.closeAllConnections();
    rmSync(folder, { recursive: true, force: true });
  });
  const port = () => String((server.address() as AddressInfo).port);

  it("in a pod: token and CA from the service account, the rotated token after a minute", async () => {
    writeFileSync(join(folder, "token"), "first\n");
    writeFileSync(join(folder, "ca.crt"), pki.ca);
    writeFileSync(join(folder, "namespace"), "mail\n");
    const clock = new ManualClock();
    const connection = inCluster(
      { KUBERNETES_SERVICE_HOST: "127.0.0.1", KUBERNETES_SERVICE_PORT: port() },
      folder,
      clock,
    );
    assert.equal(connection.namespace, "mail");
    const transport = new Transport({ connection });
    closers.push(() => transport.close());
    callers.length = 0;
    await transport.request(get);
    writeFileSync(join(folder, "token"), "second");
    await transport.request(get);
    await clock.advance(61_000);
    await transport.request(get);
    rmSync(join(folder, "token"));
    await clock.advance(61_000);
    assert.equal((await transport.request(get)).ok, true, "an unreadable file keeps the last good token");
    assert.deepEqual(
      callers.map((caller) => caller.authorization),
      ["Bearer first", "Bearer first", "Bearer second", "Bearer second"],
    );
  });

  it("in a pod: a server of another CA is refused", async () => {
    writeFileSync(join(folder, "token"), "first");
    writeFileSync(join(folder, "ca.crt"), (await makePki()).ca);
    const transport = new Transport({
      connection: inCluster({ KUBERNETES_SERVICE_HOST: "127.0.0.1", KUBERNETES_SERVICE_PORT: port() }, folder),
    });
    closers.push(() => transport.close());
    const refused = await transport.request(get);
    assert.match(refused.ok ? "" : refused.failure.message, /SIGNATURE|CERT/);
  });

  it("by kubeconfig: client certificate, CA, namespace of the context", async () => {
    const base64 = (text: string) => Buffer.from(text).toString("base64");
    const file = join(folder, "kubeconfig");
    writeFileSync(
      file,
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        "current-context": "test",
        clusters: [
          {
            name: "c",
            cluster: { server: `https://127.0.0.1:${port()}`, "certificate-authority-data": base64(pki.ca) },
          },
        ],
        users: [
          {
            name: "u",
            user: { "client-certificate-data": base64(pki.client.cert), "client-key-data": base64(pki.client.key) },
          },
        ],
        contexts: [{ name: "test", context: { cluster: "c", user: "u", namespace: "post" } }],
      }),
    );
    const connection = await fromKubeConfig(file);
    assert.equal(connection.namespace, "post");
    const transport = new Transport({ connection });
    closers.push(() => transport.close());
    callers.length = 0;
    assert.equal((await transport.request(get)).ok, true);
    assert.deepEqual(callers, [{ subject: "operator", authorization: undefined }]);
  });

  it("no service account, no token in the message", async () => {
    const connection = inCluster(
      { KUBERNETES_SERVICE_HOST: "::1", KUBERNETES_SERVICE_PORT: "1" },
      join(folder, "nothing"),
    );
    assert.equal(connection.server.href, "https://[::1]:1/");
    const refused = await new Transport({ connection }).request(get);
    assert.equal(refused.ok || refused.failure.reason, "NoCredentials");
  });
});

async function makePki() {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
  const keys = () => crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const [caKeys, serverKeys, clientKeys] = await Promise.all([keys(), keys(), keys()]);
  const dates = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) };
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    ...dates,
    name: "CN=test-ca",
    keys: caKeys,
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
  });
  const issue = async (subject: string, pair: webcrypto.CryptoKeyPair) => ({
    cert: (
      await x509.X509CertificateGenerator.create({
        ...dates,
        subject: `CN=${subject}`,
        issuer: ca.subject,
        publicKey: pair.publicKey,
        signingKey: caKeys.privateKey,
        signingAlgorithm: algorithm,
        extensions: [new x509.SubjectAlternativeNameExtension([{ type: "ip", value: "127.0.0.1" }])],
      })
    ).toString("pem"),
    key: x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", pair.privateKey), "PRIVATE KEY"),
  });
  return {
    ca: ca.toString("pem"),
    server: await issue("server", serverKeys),
    client: await issue("operator", clientKeys),
  };
}
