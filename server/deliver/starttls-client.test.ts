/**
 * A published collection of broken and hostile servers, each as a file that says what it announces and how it answers, against our client: once where
 * TLS is an opportunity (May), once where it is required (Encrypt), and for the wrong certificates once more where they are looked at (Verify).
 * What holds for all: nothing but EHLO and STARTTLS goes out in clear where TLS is required, and no answer of theirs makes mail bounce.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, globSync, readFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { TLSSocket } from "node:tls";
import { aResolver } from "../dns/dns-fixture.ts";
import {
  aCertificate,
  aCertificateUntil,
  aJob,
  aLiveConfig,
  aMessage,
  byMx,
  delivering,
  type TestCertificate,
} from "./outbound-fixture.ts";

const folder = resolve(import.meta.dirname, "../../../shared/conformance/starttls-client");

interface Case {
  readonly greeting: string;
  readonly announcesTls: boolean;
  /** By the command in capitals. */
  readonly answers: ReadonlyMap<string, string>;
  readonly makesTransition: boolean;
  readonly hidden: ReadonlySet<string>;
  readonly auth: readonly string[];
  readonly certificate: string;
}

/** The fields these files use of their notation. Comments are taken away first; the one file whose second step stands in comments is read with it. */
function readCase(text: string): Case {
  const live = text.replaceAll(/\/\/.*$/gm, "");
  const said = (value: string | undefined): string | undefined =>
    value?.replaceAll("\\r", "\r").replaceAll("\\n", "\n");
  const field = (name: string): string | undefined => said(new RegExp(`${name}:\\s*"([^"]*)"`).exec(live)?.[1]);
  const capabilities = /capabilities:\s*\[([^\]]*(?:\[[^\]]*\][^\]]*)*)\]/.exec(live)?.[1] ?? "";
  const answers = new Map<string, string>();
  for (const [, command, answer] of (/override_response:\s*\{([^}]*)\}/.exec(live)?.[1] ?? "").matchAll(
    /"([^"]+)":\s*"([^"]*)"/g,
  ))
    answers.set((command ?? "").toUpperCase(), said(answer) ?? "");
  const startTls = field("stls_response");
  if (startTls !== undefined) answers.set("STARTTLS", startTls);
  return {
    greeting: field("greeting") ?? "220 example.org ESMTP\r\n",
    announcesTls: capabilities.includes("StartTLS"),
    answers,
    makesTransition: !/stls_make_transition:\s*false/.test(live) && !answers.has("STARTTLS"),
    hidden: new Set(
      [...(/hide_commands:\s*\[([^\]]*)\]/.exec(live)?.[1] ?? "").matchAll(/"([^"]+)"/g)].map((match) =>
        (match[1] ?? "").toUpperCase(),
      ),
    ),
    auth: [...capabilities.matchAll(/Other\("([^"]+)"\)/g)].map((match) => match[1] ?? ""),
    certificate: /crt_path:\s*"certs\/([^"]*)\.pem"/.exec(live)?.[1] ?? "",
  };
}

interface Peer {
  readonly port: number;
  readonly inClear: string[];
  readonly overTls: string[];
}

async function aPeerLike(t: TestContext, given: Case, { certificate, privateKey }: TestCertificate): Promise<Peer> {
  const peer = { port: 0, inClear: [] as string[], overTls: [] as string[] };
  const open = new Set<Socket>();
  const serve = (socket: Socket, secure: boolean): void => {
    let rest = "";
    let inData = false;
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      rest += chunk.toString("latin1");
      for (let end = rest.indexOf("\r\n"); end >= 0; end = rest.indexOf("\r\n")) {
        const line = rest.slice(0, end);
        rest = rest.slice(end + 2);
        if (inData && line !== ".") continue;
        (secure ? peer.overTls : peer.inClear).push(line);
        const command = line === "." ? "." : (line.split(/[ :]/)[0] ?? "").toUpperCase();
        inData = command === "DATA";
        const answer = given.answers.get(command);
        if (given.hidden.has(command)) socket.write("500 unknown command\r\n");
        else if (answer !== undefined && !(secure && command === "EHLO")) socket.write(answer);
        else if (command === "EHLO") {
          const tls = given.announcesTls && !secure ? ["STARTTLS"] : [];
          const lines = ["example.org", ...tls, ...(given.auth.length > 0 ? [`AUTH ${given.auth.join(" ")}`] : [])];
          socket.write(lines.map((text, at) => `250${at === lines.length - 1 ? " " : "-"}${text}\r\n`).join(""));
        } else if (command === "STARTTLS" && given.makesTransition) {
          socket.removeAllListeners("data");
          socket.write("220 go\r\n");
          return serve(new TLSSocket(socket, { isServer: true, cert: certificate, key: privateKey }), true);
        } else if (command === "DATA") socket.write("354 go\r\n");
        else if (command === "QUIT") socket.end("221 bye\r\n");
        else socket.write("250 ok\r\n");
      }
    });
  };
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    serve(socket, false);
    socket.write(given.greeting);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  peer.port = typeof address === "object" && address !== null ? address.port : 0;
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return peer;
}

type Level = "May" | "Encrypt" | "Verify";

async function attempt(t: TestContext, peer: Peer, level: Level, authority: TestCertificate): Promise<string> {
  const resolver = await aResolver(t, {
    "dom.test MX": [{ preference: 0, exchange: "example.org" }],
    "example.org A": ["127.0.0.1"],
  });
  const policy = { level, match: [], fingerprints: [], ...(level === "Verify" ? { authority: "default/ca" } : {}) };
  const config = aLiveConfig(
    { tlsPolicies: { "dom.test": policy } },
    { outbound: { smtpPort: peer.port, allowPrivateNextHops: true } },
    { authorities: new Map([["default/ca", authority.certificate]]) },
  );
  const timeouts = { setupMs: 600, silenceMs: 600, finalMs: 600 };
  const deliver = delivering(t, { timeouts }, resolver);
  const { outcomes } = await deliver(aJob(config, byMx("dom.test"), aMessage(["a@dom.test"])));
  const [outcome] = outcomes;
  if (outcome === undefined) return "nothing";
  if (outcome.kind === "delivered") return outcome.tls === undefined ? "delivered in clear" : "delivered over TLS";
  return outcome.scope === "host" || outcome.reply.code < 500 ? "deferred" : `bounced ${outcome.reply.code}`;
}

/** What a file's name says about its greeting or EHLO decides; everything else announces STARTTLS and means it. */
function expected(name: string, given: Case): Readonly<Record<"May" | "Encrypt", string>> {
  const greets = given.greeting.startsWith("220");
  const ehlo = given.hidden.has("EHLO") ? "500" : given.answers.get("EHLO");
  const helo = given.answers.get("HELO");
  if (!greets || ehlo?.startsWith("421") === true) return { May: "deferred", Encrypt: "deferred" };
  // Where it is required, STARTTLS is said whether or not it was announced (nobody can cut it out of the list).
  const unannounced = given.makesTransition && !given.hidden.has("STARTTLS") ? "delivered over TLS" : "deferred";
  // 220, 221 to EHLO: the class says yes, nothing is announced.
  if (ehlo?.startsWith("2") === true) return { May: "delivered in clear", Encrypt: unannounced };
  if (ehlo !== undefined)
    return { May: helo === undefined || helo.startsWith("2") ? "delivered in clear" : "deferred", Encrypt: "deferred" };
  if (!given.announcesTls) return { May: "delivered in clear", Encrypt: unannounced };
  // A refusal, or a handshake that never comes: in clear where that is allowed.
  if (!given.makesTransition)
    return { May: name.endsWith("starttls/421") ? "deferred" : "delivered in clear", Encrypt: "deferred" };
  return { May: "delivered over TLS", Encrypt: "delivered over TLS" };
}

const files = existsSync(folder) ? globSync("**/*.ron", { cwd: folder }).sort() : [];

test("STARTTLS client cases", {
  skip: files.length > 0 ? false : "the public conformance data is not there",
  // Two of them are silent at each level; the others need not wait for them.
  concurrency: 4,
}, async (t) => {
  const good = await aCertificate("example.org");
  const wrong: Readonly<Record<string, TestCertificate>> = {
    "example.org-self-signed": await aCertificate("example.org"),
    "example.org-unknown-root": await aCertificate("example.org"),
    "other.example.org": await aCertificate("other.example.org"),
    "example.org-expired": await aCertificateUntil(Date.now() - 60_000, ["example.org"]),
  };
  assert.ok(files.length >= 60, `only ${files.length} files`);
  await Promise.all(
    files.map((file) =>
      t.test(file, async (one) => {
        const given = readCase(readFileSync(join(folder, file), "utf8"));
        const bad = wrong[given.certificate];
        const certificate = bad ?? good;
        const trusted = given.certificate.startsWith("other") || given.certificate.endsWith("expired");
        const wanted = expected(file.replace(/\.ron$/, ""), given);
        for (const level of ["May", "Encrypt", ...(bad === undefined ? [] : (["Verify"] as const))] as const) {
          const peer = await aPeerLike(one, given, certificate);
          const came = await attempt(one, peer, level, trusted ? certificate : good);
          assert.equal(came, level === "Verify" ? "deferred" : wanted[level], `${level}\n${peer.inClear.join("\n")}`);
          if (level !== "May")
            assert.ok(
              peer.inClear.every((line) => /^(EHLO|HELO|STARTTLS|QUIT|[^A-Z])/.test(line)),
              `in clear: ${peer.inClear.join(", ")}`,
            );
          if (level === "Verify") assert.deepEqual(peer.overTls, []);
        }
      }),
    ),
  );
});
