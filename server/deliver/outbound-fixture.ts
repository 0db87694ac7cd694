/**
 * Test fixture of the outbound side: a configuration, messages, certificates, real and scripted peers.
 *
 * Used by *.test.ts only; nothing that runs in a server imports it. Every server it opens listens on loopback, port 0, and is closed by `t.after`.
 */
import "reflect-metadata";
import { once } from "node:events";
import { createServer, type Socket, type Server as TcpServer } from "node:net";
import type { TestContext } from "node:test";
import * as x509 from "@peculiar/x509";
import { pino } from "pino";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { aRenderedConfig } from "../config/sample.ts";
import type { LiveConfig, Outbound, QueueSettings, ServerSection, TableSlice } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import type { Envelope, QueuedMessage, QueuedRecipient } from "../queue/queue.ts";
import type { Transport } from "../route/resolve.ts";
import { createResolver, type Resolver } from "../dns/resolver.ts";
import { createDeliver, type DeliverOptions } from "./create.ts";
import type { Deliver, DeliveryJob, DeliveryReport } from "./deliver.ts";

// --- Configuration ---------------------------------------------------------------------------------------------------------------

type Section = Partial<Omit<ServerSection, "outbound" | "queue">> & {
  readonly outbound?: Partial<Outbound>;
  readonly queue?: Partial<QueueSettings>;
};

let hashes = 0;

export function aLiveConfig(
  tables: Partial<TableSlice> = {},
  server: Section = {},
  secrets: Partial<LiveConfig> = {},
): LiveConfig {
  const rendered = aRenderedConfig();
  const all = { ...rendered.tables, ...tables };
  const map = <V>(table: Record<string, V>): ReadonlyMap<string, V> => new Map(Object.entries(table));
  hashes += 1;
  return {
    hash: `test-${hashes}`,
    loadedAtMs: 0,
    server: {
      ...rendered.server,
      ...server,
      outbound: { ...rendered.server.outbound, ...server.outbound },
      queue: { ...rendered.server.queue, ...server.queue },
    },
    domains: map(all.domains),
    addresses: map(all.addresses),
    routes: map(all.routes),
    senderRoutes: map(all.senderRoutes),
    tlsPolicies: map(all.tlsPolicies),
    relayClientCerts: map(all.relayClientCerts),
    passwords: new Map(),
    scramVerifiers: new Map(),
    credentials: new Map(),
    certificates: new Map(),
    authorities: new Map(),
    serverCertificates: [],
    ...secrets,
  };
}

/** A log that keeps its lines. */
export function aLog(): { readonly log: Log; readonly lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const log = pino(
    { messageKey: "event", level: "debug" },
    { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  );
  return { log, lines };
}

// --- Messages --------------------------------------------------------------------------------------------------------------------

export const origin = {
  listener: "mx",
  clientAddress: "192.0.2.1",
  clientName: "client.test",
  helo: "client.test",
  protocol: "ESMTP",
};

export function aRecipient(address: string, more: Partial<QueuedRecipient> = {}): QueuedRecipient {
  return { number: 0, address, expanded: false, state: "active", attempts: 1, dueMs: 0, delayWarned: false, ...more };
}

export const text = "From: <a@example.org>\r\nSubject: hello\r\n\r\nLine one\r\n.dot\r\n";

export function aMessage(
  recipients: readonly (string | QueuedRecipient)[],
  more: Partial<Omit<QueuedMessage, "envelope">> & { readonly envelope?: Partial<Envelope> } = {},
): QueuedMessage {
  return {
    id: "0TestQueueId1",
    receivedMs: Date.now(),
    size: Buffer.byteLength(text),
    origin,
    ...more,
    envelope: { sender: "sender@example.org", smtpUtf8: false, body: "7BIT", requireTls: false, ...more.envelope },
    recipients: recipients.map((each, number) =>
      typeof each === "string" ? aRecipient(each, { number }) : { ...each, number },
    ),
  };
}

export async function* contentOf(...chunks: readonly (string | Buffer)[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) yield await Promise.resolve(Buffer.from(chunk));
}

export function aJob(
  config: LiveConfig,
  transport: Partial<Transport> & Pick<Transport, "delivery">,
  message: QueuedMessage,
  content: string | Buffer = text,
): DeliveryJob {
  return {
    message,
    recipients: message.recipients,
    transport: { destination: "test", tlsPolicyKey: "", ...transport },
    content: () => contentOf(content),
    config,
    signal: new AbortController().signal,
  };
}

// --- Deliveries ------------------------------------------------------------------------------------------------------------------

const offline = createResolver({ servers: () => ["127.0.0.1:1"], timeoutMs: 20, rounds: 1 });

export function delivering(
  t: TestContext,
  options: Partial<DeliverOptions> = {},
  resolver: Resolver = offline,
): Deliver {
  const { deliver, close } = createDeliver({
    dataDir: "/nonexistent",
    resolver,
    log: aLog().log,
    hostname: "mx.example.org",
    connectMs: 1000,
    timeouts: { setupMs: 2000, silenceMs: 2000, finalMs: 2000 },
    ...options,
  });
  t.after(close);
  return deliver;
}

export const to = (port: number, kind: "smtp" | "lmtp" = "smtp"): Transport => ({
  delivery:
    kind === "smtp"
      ? { kind, host: "127.0.0.1", port, lookupMX: false, implicitTLS: false }
      : { kind, host: "127.0.0.1", port },
  destination: `${kind}:${port}`,
  tlsPolicyKey: `[127.0.0.1]:${port}`,
});

export const byMx = (domain: string): Transport => ({
  delivery: { kind: "mx", domain },
  destination: `mx:${domain}`,
  tlsPolicyKey: domain,
});

/** Exchanges on loopback, at this port. */
export const mxConfig = (port: number, own: Partial<Outbound> = {}): LiveConfig =>
  aLiveConfig({}, { outbound: { smtpPort: port, allowPrivateNextHops: true, ...own } });

/** `delivered 250 2.0.0` or `failed host 451 4.4.2`, a line for each recipient. */
export const said = (report: DeliveryReport): readonly string[] =>
  report.outcomes.map((outcome) =>
    [outcome.kind, ...(outcome.kind === "failed" ? [outcome.scope] : []), outcome.reply.code, outcome.reply.enhanced]
      .filter((word) => word !== "")
      .join(" "),
  );

// --- Certificates ----------------------------------------------------------------------------------------------------------------

export interface TestCertificate {
  readonly certificate: string;
  readonly privateKey: string;
  readonly der: Buffer;
  readonly spki: Buffer;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** Self-signed for these names; it is its own authority. */
export const aCertificate = (...names: string[]): Promise<TestCertificate> =>
  aCertificateUntil(Date.now() + 3_600_000, names);

export async function aCertificateUntil(notAfterMs: number, names: readonly string[]): Promise<TestCertificate> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: `CN=${names[0] ?? "nobody"}`,
    notBefore: new Date(notAfterMs - 7_200_000),
    notAfter: new Date(notAfterMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns", value }))),
    ],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  return {
    certificate: certificate.toString("pem"),
    privateKey: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
    der: Buffer.from(certificate.rawData),
    spki: Buffer.from(certificate.publicKey.rawData),
  };
}

// --- Peers -----------------------------------------------------------------------------------------------------------------------

export interface Received {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly content: string;
  readonly secure: boolean;
  readonly user: string | undefined;
  readonly parameters: unknown;
}

/** A real SMTP or LMTP server; `received` grows, `connections` counts. */
export async function aPeer(
  t: TestContext,
  options: SMTPServerOptions = {},
): Promise<{ readonly port: number; readonly received: Received[]; connections: number }> {
  const peer = { port: 0, received: [] as Received[], connections: 0 };
  const server = new SMTPServer({
    authOptional: true,
    size: 50_000_000,
    closeTimeout: 10,
    disabledCommands: ["STARTTLS"],
    onConnect(_session, done) {
      peer.connections += 1;
      done();
    },
    onData(stream, session, done) {
      const parts: Buffer[] = [];
      stream.on("data", (part: Buffer) => parts.push(part));
      stream.on("end", () => {
        const { mailFrom, rcptTo } = session.envelope;
        peer.received.push({
          sender: mailFrom === false ? "" : mailFrom.address,
          recipients: rcptTo.map(({ address }) => address),
          content: Buffer.concat(parts).toString("latin1"),
          secure: session.secure,
          user: session.user === undefined ? undefined : String(session.user),
          parameters: mailFrom === false ? undefined : mailFrom.args,
        });
        done(null, "2.0.0 taken");
      });
    },
    ...options,
  });
  server.on("error", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server.server, "listening");
  const address = server.server.address();
  peer.port = typeof address === "object" && address !== null ? address.port : 0;
  t.after(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return peer;
}

/** A server that says what it is told: the greeting, then an answer to each line. Undefined closes the connection. */
export async function aScript(
  t: TestContext,
  greeting: string | undefined,
  answer: (line: string, socket: Socket, connection: number) => string | undefined,
  at: { readonly address: string; readonly port: number } = { address: "127.0.0.1", port: 0 },
): Promise<{ readonly port: number; readonly lines: string[]; connections: number }> {
  const state = { port: 0, lines: [] as string[], connections: 0 };
  const open = new Set<Socket>();
  const server: TcpServer = createServer((socket) => {
    const connection = state.connections++;
    open.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => open.delete(socket));
    if (greeting === undefined) return void socket.destroy();
    socket.write(greeting);
    let rest = "";
    let inData = false;
    socket.on("data", (chunk) => {
      rest += chunk.toString("latin1");
      for (let end = rest.indexOf("\r\n"); end >= 0; end = rest.indexOf("\r\n")) {
        const line = rest.slice(0, end);
        rest = rest.slice(end + 2);
        if (inData && line !== ".") continue;
        inData = false;
        state.lines.push(line);
        const said = answer(line, socket, connection);
        if (said === undefined) return void socket.destroy();
        if (said !== "") socket.write(said);
        if (said.startsWith("354")) inData = true;
      }
    });
  });
  server.listen(at.port, at.address);
  await once(server, "listening");
  const address = server.address();
  state.port = typeof address === "object" && address !== null ? address.port : 0;
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return state;
}

/** Answers of a polite server, by the first word of the line. */
export const politely =
  (own: Readonly<Record<string, string | undefined>> = {}) =>
  (line: string): string | undefined => {
    const word = line.split(/[ :]/)[0]?.toUpperCase() ?? "";
    const usual: Record<string, string> = {
      EHLO: "250-peer\r\n250 8BITMIME\r\n",
      LHLO: "250-peer\r\n250 8BITMIME\r\n",
      DATA: "354 go\r\n",
      ".": "250 2.0.0 taken\r\n",
      QUIT: "221 bye\r\n",
    };
    return word in own ? own[word] : (usual[word] ?? "250 2.0.0 ok\r\n");
  };
