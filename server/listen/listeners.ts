/**
 * Listeners: the sockets of one shard, kept as the configuration wants them.
 *
 * startListeners opens them; applyConfig opens, closes and retunes what changed, without touching sessions that are under way; drain ends it all.
 * Several shards listen on the same port (SO_REUSEPORT), none of them knows of the others. A listener that cannot be opened is logged and tried again at the
 * next applyConfig; an address family the host lacks is skipped. RFC 5321 §3.8 (421 when closing).
 */
import type { AddressInfo } from "node:net";
import { Authenticator } from "../auth/authenticator.ts";
import { FailureCounts } from "../auth/failures.ts";
import type { Listener, LiveConfig } from "../config/schema.ts";
import { Delegation } from "../delegate/delegation.ts";
import type { Lookups } from "../lookup/lookups.ts";
import type { Log } from "../observe/log.ts";
import { rejected, tlsErrors } from "../observe/metrics.ts";
import { isInNetworks } from "../policy/networks.ts";
import { Greylist } from "../postscreen/greylist.ts";
import { PassedClients } from "../postscreen/passed.ts";
import type { Queue, QueuedMessage } from "../queue/queue.ts";
import type { StandingOf } from "../route/resolve.ts";
import { afterRewriting, movedRecipient } from "../rewrite/standing.ts";
import { standingOf } from "../route/standing.ts";
import { ClientRates } from "../session/client-rates.ts";
import { Load } from "../session/load.ts";
import { Notices } from "../session/notices.ts";
import type { Resolver, SessionPorts } from "../session/ports.ts";
import { Session } from "../session/session.ts";
import type { SharedState } from "../session/shared-state.ts";
import { TlsContexts } from "../tls/contexts.ts";
import { bindingsOf } from "./addresses.ts";
import type { Verify } from "../verify/verifier.ts";
import { ProtocolServer } from "./connection.ts";

export interface InboundOptions {
  /** Always the current one. */
  readonly config: () => LiveConfig;
  readonly queue: Queue;
  readonly onAccepted: (message: QueuedMessage) => void;
  readonly addresses: readonly string[];
  readonly portOffset: number;
  readonly log: Log;
  readonly shared: SharedState;
  readonly resolver: Resolver;
  readonly standingOf?: StandingOf;
  /** Of the configuration of the moment. Absent: none. */
  readonly lookups?: () => Lookups;
  /** Absent: no address is verified. */
  readonly verify?: Verify;
  /** Make the waiting mail of a domain due. @default says that it cannot */
  readonly flushDomain?: SessionPorts["flushDomain"];
  /** Milliseconds an answer waits after too many mistakes. @default 1000 */
  readonly errorDelayMs?: number;
  /** Milliseconds between two looks at who is too slow. @default 1000 */
  readonly sweepMs?: number;
  /** The clock of greylisting. */
  readonly now?: () => number;
}

export interface BoundPort {
  readonly listener: string;
  readonly address: string;
  readonly port: number;
}

export interface Inbound {
  /** The configuration has changed. */
  applyConfig(): Promise<void>;
  /** What is listened on now. */
  ports(): readonly BoundPort[];
  /** Stop accepting, let transactions end, then close; resolves when all sessions are gone, at the latest after the deadline. */
  drain(deadlineMs: number): Promise<void>;
}

/** One socket of one listener. */
interface Door {
  readonly listener: string;
  readonly address: string;
  /** What cannot change without a new socket. */
  readonly identity: string;
  readonly settings: { current: Listener };
  readonly server: ProtocolServer;
}

const LISTEN_BACKLOG = 511;
/** How often sessions are looked at that may have used up their time. */
const SWEEP_MS = 1000;
/** How long drain waits for sockets it has destroyed. */
const LAST_WAIT_MS = 1000;

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : String(error);

export async function startListeners(options: InboundOptions): Promise<Inbound> {
  const inbound = new ShardListeners(options);
  await inbound.applyConfig();
  return inbound;
}

class ShardListeners implements Inbound {
  readonly #options: InboundOptions;
  readonly #ports: SessionPorts;
  readonly #tls: TlsContexts;
  readonly #authenticator: Authenticator;
  readonly #delegation: Delegation;
  readonly #load: Load;
  readonly #sessions = new Set<Session>();
  #sweeper: NodeJS.Timeout | undefined;
  #doors: Door[] = [];
  #applying: Promise<void> = Promise.resolve();
  #draining = false;
  #emptied: (() => void) | undefined;

  constructor(options: InboundOptions) {
    this.#options = options;
    this.#tls = new TlsContexts(options.log);
    this.#authenticator = new Authenticator(options.log, undefined, options.lookups);
    this.#delegation = new Delegation(options.log);
    this.#load = new Load(() => options.config().server.limits, options.log);
    this.#ports = {
      config: options.config,
      queue: options.queue,
      onAccepted: options.onAccepted,
      log: options.log,
      shared: options.shared,
      resolver: options.resolver,
      authenticator: this.#authenticator,
      failures: new FailureCounts(options.shared, options.log),
      passedClients: new PassedClients(options.shared, options.log),
      greylist: new Greylist(options.shared, options.log, options.now),
      tls: this.#tls,
      standingOf: afterRewriting(options.standingOf ?? standingOf),
      delegate: this.#delegation.ask,
      ...(options.lookups === undefined ? {} : { lookups: options.lookups }),
      ...verifying(options),
      notices: new Notices(options),
      load: this.#load,
      rates: new ClientRates(options.shared, options.log),
      flushDomain: options.flushDomain ?? (() => Promise.resolve({ kind: "unable" })),
      errorDelayMs: options.errorDelayMs ?? 1000,
    };
  }

  applyConfig(): Promise<void> {
    // One after another: two changes at once must not open a port twice.
    this.#applying = this.#applying.then(() => this.#apply());
    return this.#applying;
  }

  ports(): readonly BoundPort[] {
    return this.#doors.map(({ listener, address, server }) => {
      const bound = server.server.address() as AddressInfo;
      return { listener, address, port: bound.port };
    });
  }

  async #apply(): Promise<void> {
    if (this.#draining) return;
    this.#sweeper ??= setInterval(() => {
      const nowMs = Date.now();
      for (const session of this.#sessions) session.sweep(nowMs);
    }, this.#options.sweepMs ?? SWEEP_MS);
    const config = this.#options.config();
    this.#tls.apply(config);
    this.#authenticator.apply(config);
    this.#delegation.apply(config);
    const wanted = new Map<
      string,
      { readonly listener: Listener; readonly address: string; readonly identity: string; readonly ipv6Only: boolean }
    >();
    for (const listener of config.server.listeners) {
      if (!this.#isServed(listener)) continue;
      const { bindings, refused } = bindingsOf(listener.addresses, this.#options.addresses);
      if (refused.length > 0) this.#options.log.error({ listener: listener.name, refused }, "listener-address-refused");
      for (const { address, ipv6Only } of bindings) {
        const implicit = listener.tls.mode === "Implicit";
        const identity = JSON.stringify([listener.name, address, listener.port, implicit, ipv6Only]);
        wanted.set(identity, { listener, address, identity, ipv6Only });
      }
    }
    for (const door of this.#doors) {
      const still = wanted.get(door.identity);
      if (still === undefined) this.#close(door);
      else door.settings.current = still.listener;
    }
    this.#doors = this.#doors.filter(({ identity }) => wanted.has(identity));
    const open = new Set(this.#doors.map(({ identity }) => identity));
    for (const { listener, address, identity, ipv6Only } of wanted.values()) {
      if (!open.has(identity)) await this.#open(listener, address, identity, ipv6Only);
    }
    for (const { server, settings } of this.#doors) {
      server.configure({
        idleTimeoutMs: config.server.limits.idleTimeoutMs,
        connections: config.server.limits.connections,
        asksCertificate: settings.current.tls.clientCertificates !== "Ignore",
      });
      server.refreshDefault();
    }
  }

  /** Says in the log what a listener cannot do. */
  #isServed(listener: Listener): boolean {
    const { name, role, tls } = listener;
    if (role === "LMTP") {
      this.#options.log.error({ listener: name, role }, "listener-role-not-served");
      return false;
    }
    if (role === "Submission" && tls.mode === "None") {
      this.#options.log.warn({ listener: name, effect: "submission cannot authenticate" }, "no-tls");
      return true;
    }
    if (this.#tls.isAvailable) return true;
    if (tls.mode === "Implicit") {
      this.#options.log.error({ listener: name }, "listener-needs-certificate");
      return false;
    }
    if (role === "Submission")
      this.#options.log.warn({ listener: name, effect: "submission cannot authenticate" }, "no-certificate");
    else if (tls.mode === "StartTLS")
      this.#options.log.warn({ listener: name, effect: "STARTTLS is not offered" }, "no-certificate");
    return true;
  }

  async #open(listener: Listener, address: string, identity: string, ipv6Only: boolean): Promise<void> {
    const settings = { current: listener };
    const server = new ProtocolServer({
      terms: () => this.#load.patience(),
      implicitTls: listener.tls.mode === "Implicit",
      converse: (wire) => {
        const session: Session = new Session(wire, settings, this.#ports, () => {
          this.#sessions.delete(session);
          if (this.#sessions.size === 0) this.#emptied?.();
        });
        this.#sessions.add(session);
        if (this.#draining) session.drain();
        return session;
      },
      contextFor: (servername) => this.#tls.contextFor(servername),
      onHandshakeError: (error) => {
        tlsErrors.inc({ direction: "inbound" });
        this.#options.log.info({ listener: listener.name, error: error.message }, "tls-failed");
      },
      speaksForOthers: (peer) => isInNetworks(settings.current.proxyProtocol ?? [], peer),
      onProxyError: (peer, why) => {
        rejected.inc({ listener: listener.name, stage: "connect", reason: "proxy-header", class: "permanent" });
        this.#options.log.warn({ listener: listener.name, peer, why }, "proxy-header-refused");
      },
    });
    server.configure({
      idleTimeoutMs: this.#options.config().server.limits.idleTimeoutMs,
      connections: this.#options.config().server.limits.connections,
      asksCertificate: listener.tls.clientCertificates !== "Ignore",
    });
    server.refreshDefault();
    const port = listener.port === 0 ? 0 : listener.port + this.#options.portOffset;
    const log = this.#options.log.child({ listener: listener.name, address, port });
    try {
      await this.#listen(server, address, port, ipv6Only);
      this.#doors.push({ listener: listener.name, address, identity, settings, server });
      const bound = server.server.address() as AddressInfo;
      log.info({ role: listener.role, tls: listener.tls.mode, port: bound.port }, "listening");
    } catch (error) {
      const code = codeOf(error);
      if (listener.addresses === undefined && (code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL"))
        log.warn({ error: code }, "address-family-not-available");
      else log.error({ error: code }, "listen-failed");
    }
  }

  async #listen(server: ProtocolServer, host: string, port: number, ipv6Only: boolean): Promise<void> {
    const attempt = (reusePort: boolean): Promise<void> =>
      new Promise((resolve, reject) => {
        const failed = (error: Error): void => {
          server.server.removeListener("listening", listening);
          reject(error);
        };
        const listening = (): void => {
          server.server.removeListener("error", failed);
          resolve();
        };
        server.server.once("error", failed);
        server.server.once("listening", listening);
        server.listen({ host, port, backlog: LISTEN_BACKLOG, exclusive: true, reusePort, ipv6Only });
      });
    try {
      await attempt(true);
    } catch (error) {
      // Not every system has SO_REUSEPORT.
      if (codeOf(error) !== "ENOTSUP") throw error;
      await attempt(false);
    }
  }

  /** Its sessions go on. */
  #close(door: Door): void {
    door.server.server.close();
    this.#options.log.info({ listener: door.listener, address: door.address }, "listener-closed");
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    await this.#applying;
    for (const door of this.#doors) this.#close(door);
    this.#doors = [];
    const emptied = new Promise<void>((resolve) => {
      this.#emptied = resolve;
    });
    for (const session of this.#sessions) session.drain();
    if (this.#sessions.size > 0) await within(emptied, deadlineMs);
    if (this.#sessions.size > 0) {
      this.#options.log.warn({ sessions: this.#sessions.size }, "drain-deadline");
      for (const session of this.#sessions) session.cutOff();
      await within(emptied, LAST_WAIT_MS);
    }
    clearInterval(this.#sweeper);
    await this.#authenticator.close();
    this.#delegation.close();
  }
}

/** Wait for it, but not longer. */
async function within(done: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([
    done,
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    }),
  ]);
  clearTimeout(timer);
}

/** Probes take the way that mail would take. */
const verifying = ({ config, verify }: InboundOptions): { readonly verify?: Verify } =>
  verify === undefined ? {} : { verify: (address) => verify(movedRecipient(config(), address)) };
