/**
 * Test fixture of the inbound side: a configuration, a queue in memory, certificates, and transcripts over real sockets.
 *
 * Used by *.test.ts only; nothing that runs in a server imports it. Every helper cleans up what it opened.
 */
import "reflect-metadata";
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import * as x509 from "@peculiar/x509";
import { pino } from "pino";
import type { Dns } from "../dns/resolver.ts";
import type { AccessRule, AddressEntry, DomainEntry, Listener, LiveConfig, ServerSection } from "../config/schema.ts";
import { noRestrictions } from "../config/restrictions.ts";
import { noRewriting } from "../config/rewriting.ts";
import type { Log } from "../observe/log.ts";
import { copied } from "../octets.ts";
import {
  type Envelope,
  type MessageWriter,
  type Origin,
  type Queue,
  type QueuedMessage,
  QueueUnavailable,
} from "../queue/queue.ts";
import { MemorySharedState } from "../session/shared-state.ts";
import { type Inbound, type InboundOptions, startListeners } from "./listeners.ts";

// --- Configuration ---------------------------------------------------------------------------------------------------------------

export const aListener = (
  settings: Partial<Omit<Listener, "tls">> & { readonly tls?: Partial<Listener["tls"]> } = {},
): Listener => ({
  name: "mx",
  role: "MX",
  port: 0,
  ...settings,
  tls: { mode: "StartTLS", required: false, clientCertificates: "Ignore", receivedHeader: true, ...settings.tls },
});

export const aMailbox = (mailbox: Partial<NonNullable<AddressEntry["mailbox"]>> = {}): AddressEntry => ({
  mailbox: { authentication: true, suspended: false, forwardTo: [], keepCopy: false, sendAs: [], ...mailbox },
});

export const aDomain = (domain: Partial<DomainEntry> = {}): DomainEntry => ({
  class: "Mailbox",
  recipients: "Objects",
  catchAll: [],
  ...domain,
});

export const aRule = (
  scope: AccessRule["scope"],
  match: AccessRule["match"],
  action: AccessRule["action"],
): AccessRule => ({ name: "rule", scope, match, action });

type ServerOverrides = Partial<Omit<ServerSection, "limits">> & { readonly limits?: Partial<ServerSection["limits"]> };

export function aConfig(config: Partial<Omit<LiveConfig, "server">> = {}, server: ServerOverrides = {}): LiveConfig {
  return {
    hash: "0".repeat(64),
    loadedAtMs: 0,
    domains: new Map([["example.org", aDomain()]]),
    addresses: new Map([["alice@example.org", aMailbox()]]),
    routes: new Map(),
    senderRoutes: new Map(),
    tlsPolicies: new Map(),
    relayClientCerts: new Map(),
    passwords: new Map(),
    scramVerifiers: new Map(),
    credentials: new Map(),
    certificates: new Map(),
    authorities: new Map(),
    serverCertificates: [],
    ...config,
    server: {
      version: 1,
      name: "default/mx",
      hostname: "mx.example.org",
      listeners: [aListener()],
      tls: { profile: "Intermediate", sessionTimeoutMs: 3_600_000 },
      trustedNetworks: [],
      queue: {
        minBackoffMs: 300_000,
        maxBackoffMs: 14_400_000,
        lifetimeMs: 432_000_000,
        bounceLifetimeMs: 432_000_000,
        delayWarningMs: 0,
        confirmDelayCleared: false,
        softBounce: false,
        hold: false,
        notify: ["DoubleBounce"],
        minFreeBytes: 0,
      },
      outbound: {
        heloName: "mx.example.org",
        addressPreference: "Any",
        tlsDefault: "May",
        resolvers: [],
        destinationConcurrency: 1,
        concurrency: 1,
        smtpPort: 25,
        allowPrivateNextHops: false,
        allowedNetworks: [],
        deniedNetworks: [],
        sourceAddresses: [],
      },
      recipientDelimiters: "+-",
      rewriting: noRewriting,
      postmaster: ["alice@example.org"],
      strictEnvelopes: false,
      authentication: {
        mechanisms: ["PLAIN", "LOGIN", "EXTERNAL"],
        mailboxes: true,
        saltKey: "0".repeat(64),
        failures: { perClient: 0, perUser: 0, windowMs: 600_000 },
      },
      accessRules: [],
      restrictions: noRestrictions,
      lookups: [],
      policyServices: [],
      verification: {
        sender: "",
        positive: { expireMs: 2_678_400_000, refreshMs: 604_800_000 },
        negative: { expireMs: 259_200_000, refreshMs: 10_800_000 },
        waitMs: 6000,
        recipientRejectCode: 450,
        senderRejectCode: 450,
      },
      debugPeers: [],
      ...server,
      limits: {
        messageSizeBytes: 100_000,
        headerSizeBytes: 20_000,
        recipients: 100,
        connections: 1000,
        recipientOvershoot: 1000,
        connectionsPerClient: 0,
        rates: {},
        clientPrefix: { ipv4: 32, ipv6: 64 },
        exemptNetworks: [],
        messagesPerConnection: 0,
        softErrors: 10,
        hardErrors: 20,
        junkCommands: 100,
        idleTimeoutMs: 10_000,
        heloTimeoutMs: 10_000,
        minDataRate: 0,
        ...server.limits,
      },
    },
  };
}

// --- Queue -----------------------------------------------------------------------------------------------------------------------

export interface StoredMessage {
  readonly id: string;
  readonly content: Buffer;
  readonly envelope: Envelope;
  readonly origin: Origin;
}

/** What the inbound side uses of a queue, without storage. */
export class MemoryQueue {
  readonly stored: StoredMessage[] = [];
  aborted = 0;
  trouble: "full" | "failed" | undefined;
  /** Fails the next commit only. */
  commitTrouble: Error | undefined;
  /** When set, a commit waits for it. */
  gate: Promise<void> | undefined;
  /** Called when a commit begins. */
  onCommit: () => void = () => undefined;
  readonly keep: boolean;
  #number = 0;

  constructor(options: { readonly keep: boolean } = { keep: true }) {
    this.keep = options.keep;
  }

  commitBegins(): Promise<void> {
    return new Promise((resolve) => {
      this.onCommit = resolve;
    });
  }

  /** The whole port, of which only this much exists: the rest belongs to delivery and fails loudly. */
  asQueue(): Queue {
    const own: Pick<Queue, "newMessage" | "unavailable"> = {
      newMessage: () => this.newMessage(),
      unavailable: () => this.unavailable(),
    };
    return new Proxy(own, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (value === undefined) throw new Error(`the inbound side must not call queue.${String(name)}`);
        return value;
      },
    }) as Queue;
  }

  unavailable(): { readonly reason: "full" | "failed"; readonly message: string } | undefined {
    return this.trouble === undefined ? undefined : { reason: this.trouble, message: this.trouble };
  }

  newMessage(): MessageWriter {
    if (this.trouble !== undefined) throw new QueueUnavailable(this.trouble, this.trouble);
    this.#number += 1;
    return new MemoryWriter(this, `Q${String(this.#number).padStart(11, "0")}`);
  }
}

class MemoryWriter implements MessageWriter {
  readonly id: string;
  size = 0;
  readonly #queue: MemoryQueue;
  readonly #content: Buffer[] = [];

  constructor(queue: MemoryQueue, id: string) {
    this.#queue = queue;
    this.id = id;
  }

  write(data: Buffer | readonly Buffer[]): undefined {
    const copy = copied(data);
    this.size += copy.length;
    if (this.#queue.keep) this.#content.push(copy);
  }

  async commit(
    envelope: Envelope,
    origin: Origin,
    { hold = false }: Parameters<MessageWriter["commit"]>[2] = {},
  ): Promise<QueuedMessage> {
    this.#queue.onCommit();
    if (this.#queue.gate !== undefined) await this.#queue.gate;
    const trouble = this.#queue.commitTrouble;
    this.#queue.commitTrouble = undefined;
    if (trouble !== undefined) throw trouble;
    if (this.#queue.keep)
      this.#queue.stored.push({ id: this.id, content: Buffer.concat(this.#content), envelope, origin });
    const { recipients, ...rest } = envelope;
    return {
      id: this.id,
      receivedMs: Date.now(),
      size: this.size,
      envelope: rest,
      origin,
      recipients: recipients.map((recipient, number) => ({
        ...recipient,
        number,
        expanded: false,
        state: hold ? "hold" : "active",
        attempts: hold ? 0 : 1,
        dueMs: 0,
        delayWarned: false,
      })),
    };
  }

  async abort(): Promise<void> {
    this.#queue.aborted += 1;
  }
}

// --- Server ----------------------------------------------------------------------------------------------------------------------

export interface TestServer {
  readonly inbound: Inbound;
  readonly queue: MemoryQueue;
  readonly accepted: QueuedMessage[];
  readonly shared: MemorySharedState;
  /** Log lines, parsed. */
  readonly lines: Record<string, unknown>[];
  port(listener?: string): number;
  reconfigure(config: LiveConfig): Promise<void>;
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export function capturedLog(): { readonly log: Log; readonly lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const log = pino(
    { messageKey: "event", base: {} },
    { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  );
  return { log, lines };
}

/** No name exists; tests of checks that ask DNS bring a server of their own (dns/dns-fixture.ts). */
const nothing = () => Promise.resolve({ kind: "nxdomain" } as const);
export const noDns: Dns = {
  mx: nothing,
  addresses: nothing,
  hostAddresses: nothing,
  a: nothing,
  txt: nothing,
  pointer: nothing,
};

export async function aServer(
  config: LiveConfig = aConfig(),
  options: Partial<InboundOptions> = {},
): Promise<TestServer> {
  let current = config;
  const queue = new MemoryQueue();
  const accepted: QueuedMessage[] = [];
  const shared = new MemorySharedState();
  const { log, lines } = capturedLog();
  const inbound = await startListeners({
    config: () => current,
    queue: queue.asQueue(),
    onAccepted: (message) => accepted.push(message),
    addresses: ["127.0.0.1"],
    portOffset: 0,
    log,
    shared,
    resolver: { ...noDns, reverse: () => Promise.resolve({ kind: "named", name: "client.example.net" }) },
    errorDelayMs: 0,
    ...options,
  });
  const stop = (): Promise<void> => inbound.drain(0);
  return {
    inbound,
    queue,
    accepted,
    shared,
    lines,
    port: (listener = "mx") => {
      const port = inbound.ports().find((bound) => bound.listener === listener)?.port;
      assert.ok(port !== undefined, `no listener ${listener}`);
      return port;
    },
    reconfigure: (next) => {
      current = next;
      return inbound.applyConfig();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

// --- Certificates ----------------------------------------------------------------------------------------------------------------

export interface TestCertificate {
  readonly certificate: string;
  readonly privateKey: string;
}

const algorithms = {
  ec: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  rsa: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", publicExponent: new Uint8Array([1, 0, 1]), modulusLength: 2048 },
} as const;

export async function aCertificate(
  names: readonly string[],
  options: { readonly type?: "ec" | "rsa"; readonly notAfter?: Date } = {},
): Promise<TestCertificate> {
  const algorithm = algorithms[options.type ?? "ec"];
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: `CN=${names[0]}`,
    notBefore: new Date(0),
    notAfter: options.notAfter ?? new Date("2099-01-01"),
    keys,
    signingAlgorithm: algorithm,
    extensions: [new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns", value })))],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  return {
    certificate: certificate.toString("pem"),
    privateKey: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
  };
}

// --- Client ----------------------------------------------------------------------------------------------------------------------

/** A client that reads lines; every wait is bounded by the test's own timeout. */
export class TestClient {
  socket: Socket;
  #text = "";
  #ended = false;
  #wake: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.#listen();
  }

  static async connect(
    port: number,
    options: { readonly tls?: ConnectionOptions; readonly host?: string; readonly localAddress?: string } = {},
  ): Promise<TestClient> {
    const address = {
      port,
      host: options.host ?? "127.0.0.1",
      ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
    };
    const socket =
      options.tls === undefined
        ? connectTcp(address)
        : connectTls({ ...address, rejectUnauthorized: false, ...options.tls });
    socket.setNoDelay(true);
    await once(socket, options.tls === undefined ? "connect" : "secureConnect");
    return new TestClient(socket);
  }

  #listen(): void {
    this.socket.on("data", (data: Buffer) => {
      this.#text += data.toString("latin1");
      this.#wake?.();
    });
    const ended = (): void => {
      this.#ended = true;
      this.#wake?.();
    };
    this.socket.on("end", ended).on("close", ended).on("error", ended);
  }

  async #until<T>(look: () => T | undefined): Promise<T | undefined> {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The next line, undefined at the end of the connection. */
  line(): Promise<string | undefined> {
    return this.#until(() => {
      const end = this.#text.indexOf("\r\n");
      if (end < 0) return undefined;
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 2);
      return line;
    });
  }

  /** A whole reply, its lines joined by `\n`. */
  async reply(): Promise<string> {
    const lines: string[] = [];
    for (;;) {
      const line = await this.line();
      if (line === undefined) return [...lines, "<closed>"].join("\n");
      lines.push(line);
      if (line[3] !== "-") return lines.join("\n");
    }
  }

  send(data: string | Buffer): void {
    this.socket.write(data);
  }

  /** Send a command, get its reply. */
  async say(command: string): Promise<string> {
    this.send(`${command}\r\n`);
    return this.reply();
  }

  /** The handshake of STARTTLS, after its 220. */
  async startTls(options: ConnectionOptions = {}): Promise<void> {
    this.socket.removeAllListeners();
    const socket = connectTls({ socket: this.socket, rejectUnauthorized: false, ...options });
    await once(socket, "secureConnect");
    this.socket = socket;
    this.#listen();
  }

  async closed(): Promise<boolean> {
    return (await this.line()) === undefined;
  }

  close(): void {
    this.socket.destroy();
  }
}

/**
 * Play a transcript. `C: line` is sent with CRLF, `C! "json string"` is sent as it is, `S: pattern` is the next line (`*` matches anything),
 * `TLS` makes the STARTTLS handshake, `CLOSED` expects the end. Everything else is a comment.
 */
export async function play(
  port: number,
  transcript: string,
  options: Parameters<typeof TestClient.connect>[1] = {},
): Promise<TestClient> {
  const client = await TestClient.connect(port, options);
  const lines = transcript.split("\n").map((line) => line.trim());
  for (const [place, line] of lines.entries()) {
    const text = line.slice(3);
    if (line.startsWith("C:")) client.send(`${text}\r\n`);
    else if (line.startsWith("C!")) client.send(Buffer.from(JSON.parse(text) as string, "latin1"));
    else if (line.startsWith("S:")) {
      const got = (await client.line()) ?? "<closed>";
      const pattern = new RegExp(
        `^${text
          .split("*")
          .map((part) => RegExp.escape(part))
          .join(".*")}$`,
      );
      assert.match(got, pattern, `line ${place + 1} of the transcript: expected "${text}", got "${got}"`);
    } else if (line === "TLS") await client.startTls(options.tls);
    else if (line === "CLOSED") assert.equal(await client.closed(), true, `line ${place + 1}: still open`);
  }
  return client;
}
