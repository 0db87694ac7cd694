/**
 * Session: one client's conversation, from the greeting to the end of the connection.
 *
 * Stands between the connection (listen/) and the policy: keeps what the client has said (ClientFacts, the transaction, a SASL exchange), looks the command up
 * in its table, and is the one place where replies are given, mistakes counted and refusals logged. Commands run one after another.
 * Whatever goes wrong in a handler becomes 451 and a log line. RFC 5321 §3, §4.1.4; RFC 3207 §4.2 (all is forgotten after STARTTLS).
 */
import { isUtf8 } from "node:buffer";
import type { ClientName } from "../dns/reverse.ts";
import type { Log } from "../observe/log.ts";
import * as metrics from "../observe/metrics.ts";
import { decide } from "../policy/chain.ts";
import { ClientFacts, type TlsFacts } from "../policy/facts.ts";
import { isInNetworks } from "../policy/networks.ts";
import { stagesOf } from "../policy/reinject.ts";
import { stages } from "../policy/stages.ts";
import type { Reason, Stage } from "../policy/verdict.ts";
import { isPermanent, type Reply, replyLine } from "../reply.ts";
import { commands } from "./commands.ts";
import { Screening } from "../postscreen/screening.ts";
import type { ForwardedOrigin } from "../queue/queue.ts";
import { DebugDialogue } from "./debug-peers.ts";
import type { Incoming } from "./message.ts";
import { notePipelining } from "./pipelining.ts";
import type { ListenerSettings, SessionPorts } from "./ports.ts";
import { replies, softened } from "./replies.ts";
import { isStrangersLine } from "./strangers.ts";
import { isRefusal, type Transaction } from "./transaction.ts";
import { OverheardWire, type Overhearing, Transcript } from "./transcript.ts";
import type { Conversation, Wire } from "./wire.ts";
import { isTrustedProxy, type SpokenFor } from "./xclient.ts";

/** A reply, or nothing where the handler answers later by itself. */
export type Answer = Reply | undefined;

/** RFC 5321 §4.5.3.1.4 asks for 512 octets; extensions add (SMTPUTF8, DSN); AUTH has its own bound in the connection (RFC 4954 §4.3). */
const MAX_COMMAND_OCTETS = 2048;
// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u0008\u000a-\u001f\u007f]/;

export class Session implements Conversation {
  readonly wire: Wire;
  readonly ports: SessionPorts;
  client: ClientFacts;
  log: Log;
  transaction: Transaction | undefined;
  /** The message being received. */
  incoming: Incoming | undefined;
  /** What takes the next line instead of the table: a SASL exchange. */
  continuation: ((line: string) => Answer | Promise<Answer>) | undefined;
  /** Set once the peer has spoken for another (xclient.ts). */
  spokenFor: SpokenFor | undefined;
  /** What it said of the next message's way here. */
  forwarded: ForwardedOrigin | undefined;
  readonly #settings: ListenerSettings;
  readonly #onClosed: () => void;
  readonly #places: string[] = [];
  readonly #openedMs = Date.now();
  readonly #transcript: Transcript | undefined;
  #screening: Screening | undefined;
  #ears: readonly Overhearing[] = [];
  /** Since when it has owed us a hello. */
  #helloSinceMs = Date.now();
  #errors = 0;
  /** The answer at hand counts as an error, whatever its code. */
  #strike = false;
  #junk = 0;
  /** It has one of this shard's places. */
  #isCounted = false;
  #busy = false;
  #open = false;
  #closed = false;
  #draining = false;
  #denied = false;
  #messages = 0;

  constructor(wire: Wire, settings: ListenerSettings, ports: SessionPorts, onClosed: () => void) {
    this.#transcript = ports.notices.wanted ? new Transcript() : undefined;
    const isOverheard = this.#transcript !== undefined || ports.config().server.debugPeers.length > 0;
    this.wire = isOverheard ? new OverheardWire(wire, () => this.#ears) : wire;
    this.ports = ports;
    this.#settings = settings;
    this.#onClosed = onClosed;
    this.log = this.#logOf(wire.remoteAddress);
    this.client = this.#clientAt(wire.remoteAddress);
    this.#listenIn();
  }

  /** Whoever wants to hear this client: once it is met, and again when the peer speaks for another. */
  #listenIn(): void {
    const debug = DebugDialogue.of(this.client.config.server.debugPeers, this.client, this.log, commands);
    this.#ears = [this.#transcript, debug].filter((ear) => ear !== undefined);
  }

  #logOf(address: string): Log {
    return this.ports.log.child({ session: this.wire.id, listener: this.#settings.current.name, client: address });
  }

  #clientAt(address: string, naming?: ClientName): ClientFacts {
    const { config, resolver, delegate, verify, lookups } = this.ports;
    const said = this.spokenFor?.values;
    return new ClientFacts({
      address,
      isSpokenFor: this.spokenFor !== undefined,
      config,
      listener: () => this.#settings.current,
      reverse: naming === undefined ? (asked) => resolver.reverse(asked) : () => Promise.resolve(naming),
      dns: resolver,
      standingOf: (each) => this.ports.standingOf(config(), each),
      port: Number(said?.get("PORT") ?? this.wire.remotePort),
      server: {
        address: said?.get("DESTADDR") ?? this.wire.localAddress,
        port: Number(said?.get("DESTPORT") ?? this.wire.localPort),
      },
      ...(delegate === undefined ? {} : { delegate }),
      isStressed: () => this.ports.load.isStressed,
      ...(verify === undefined ? {} : { verify }),
      ...(lookups === undefined ? {} : { lookups }),
      greylist: this.ports.greylist,
      rates: this.ports.rates,
    });
  }

  get listenerName(): string {
    return this.#settings.current.name;
  }

  /** The peer speaks for this client from now on; nothing said before counts. */
  becomes(spokenFor: SpokenFor, address: string, naming: ClientName | undefined): ClientFacts {
    const { tls } = this.client;
    this.forgetTransaction();
    this.#helloSinceMs = Date.now();
    this.spokenFor = spokenFor;
    this.log = this.#logOf(address);
    this.client = this.#clientAt(address, naming);
    this.#secure(tls);
    this.#listenIn();
    return this.client;
  }

  /** The certificate is the peer's: it says nothing of whom it speaks for. */
  #secure(tls: TlsFacts | undefined): void {
    this.client.tls =
      tls === undefined || this.spokenFor === undefined ? tls : { ...tls, clientCertificate: undefined };
  }

  async greet(): Promise<boolean> {
    const { limits, hostname } = this.client.config.server;
    this.#screen(replies.greeting(hostname));
    // Asked early, needed late: the answer is usually there by the first message.
    void this.client.name();
    const server = this.ports.load.take();
    this.#isCounted = server;
    const isLimited =
      limits.connectionsPerClient > 0 &&
      !this.client.isTrustedProxy &&
      !isInNetworks(limits.exemptNetworks, this.wire.remoteAddress);
    // Both at once: a question to the primary costs more than a place that is given back.
    const [client, tooOften] = await Promise.all([
      isLimited ? this.#take(`client:${this.client.group}`, limits.connectionsPerClient) : true,
      this.client.exceeds("connections"),
    ]);
    const decision = await decide(stages.connect, { hasPlace: { server, client }, tooOften });
    metrics.connections.inc({ listener: this.listenerName });
    if (this.#closed) {
      this.#givePlacesBack();
      return false;
    }
    metrics.connectionsOpen.inc({ listener: this.listenerName });
    this.#open = true;
    this.log.info({ port: this.wire.remotePort, tls: this.client.tls?.protocol }, "connect");
    if (decision.kind === "reject" || decision.kind === "defer") {
      // Who was refused one limit must not count against the other.
      this.#givePlacesBack();
      this.wire.reply(this.tempered(this.refusal("connect", decision.reason, decision.reply)));
      this.wire.close();
      return false;
    }
    const failed = await this.#screening?.beforeGreeting();
    if (this.#closed) return false;
    if (failed !== undefined) {
      this.#cutOff(failed);
      return false;
    }
    if (this.#draining) {
      this.wire.reply(replies.shuttingDown);
      return false;
    }
    this.wire.reply((await this.#refusedAtOnce()) ?? replies.greeting(hostname));
    return true;
  }

  /** Postscreen, where it is on and the world may come: it hears the client from the first octet. */
  #screen(greeting: Reply): void {
    const { client, log, ports, wire } = this;
    const settings = client.config.server.postscreen;
    if (settings === undefined || client.listener.role !== "MX") return;
    this.#screening = new Screening({
      settings,
      listener: this.listenerName,
      address: client.address,
      trusted: client.isInTrustedNetwork() || client.isTrustedProxy,
      wire,
      dns: ports.resolver,
      passed: ports.passedClients,
      log,
      greeting,
      cutOff: (reply) => this.#cutOff(reply),
    });
    client.screening = this.#screening;
  }

  #cutOff(reply: Reply): void {
    this.wire.reply(this.tempered(this.refusal("connect", "postscreen", reply)));
    this.wire.close();
  }

  /** Where delayReject is off. RFC 5321 §3.1: whoever gets 554 in place of a greeting may still say QUIT. */
  async #refusedAtOnce(): Promise<Reply | undefined> {
    const decision = await decide(stagesOf(this.client.listener).greeting, this.client);
    if (!isRefusal(decision)) return undefined;
    const { check, reason, reply } = decision;
    this.#denied = true;
    this.log.info({ check, reason, reply: replyLine(reply) }, "connect-refused");
    return this.tempered(this.refusal("connect", reason, reply));
  }

  command(line: Buffer): void | Promise<void> {
    if (this.#draining && this.transaction === undefined) {
      this.wire.reply(replies.shuttingDown);
      return;
    }
    let answer: Answer | Promise<Answer>;
    try {
      answer = this.#run(line);
    } catch (error) {
      answer = this.#broken(error);
    }
    if (!(answer instanceof Promise)) return this.#finish(answer);
    this.#busy = true;
    return answer
      .catch((error: unknown) => this.#broken(error))
      .then(async (given) => {
        this.#busy = false;
        await this.#finish(given);
      });
  }

  #run(line: Buffer): Answer | Promise<Answer> {
    const { continuation } = this;
    for (const ear of this.#ears) ear.heard(line, continuation !== undefined);
    if (continuation !== undefined) {
      this.continuation = undefined;
      return continuation(line.toString("latin1").trimEnd());
    }
    const text = line.toString("utf8");
    const space = text.indexOf(" ");
    const verb = (space < 0 ? text : text.slice(0, space)).toUpperCase();
    const failed = this.#screening?.command(text);
    if (failed !== undefined) {
      this.#cutOff(failed);
      return undefined;
    }
    if (isStrangersLine(text)) return this.mistake("bad-command", replies.ruleBreaker);
    if (verb !== "AUTH" && line.length > MAX_COMMAND_OCTETS) return this.mistake("bad-command", replies.lineTooLong);
    if (!isUtf8(line) || control.test(text)) return this.mistake("bad-command", replies.badCharacters);
    notePipelining(this.client, verb, this.wire.hasMore);
    if (this.#denied && verb !== "QUIT") return this.mistake("restricted", replies.accessDenied);
    const row = commands.get(verb);
    if (row === undefined) return this.mistake("bad-command", replies.unknownCommand);
    const { messagesPerConnection } = this.client.config.server.limits;
    if (verb === "MAIL" && messagesPerConnection > 0 && this.#messages >= messagesPerConnection)
      return this.refusal("mail", "too-many-messages", replies.tooManyMessages);
    if (row.junk === true) this.#junk += 1;
    if (row.junk === true && this.#junk > this.ports.load.patience().junkCommands) this.strike();
    const refused = row.beforeAuthentication ? undefined : this.#authenticationFirst();
    return refused ?? row.run(this, space < 0 ? "" : text.slice(space + 1).trim());
  }

  /** RFC 6409 §4.3: on a submission listener nothing but the way to authentication is open. */
  #authenticationFirst(): Reply | undefined {
    if (this.client.listener.role !== "Submission" || this.client.user !== undefined) return undefined;
    return this.refusal(
      "mail",
      "authentication-required",
      this.client.tls === undefined ? replies.startTlsFirst : replies.authenticationRequired,
    );
  }

  /** A refusal with its place in metrics; returns the reply. */
  refusal(stage: Stage, reason: Reason, reply: Reply): Reply {
    this.#transcript?.mark(reason);
    // Who goes on and on is not only told to come again.
    if (reason === "client-rate") this.strike();
    metrics.rejected.inc({
      listener: this.listenerName,
      stage,
      reason,
      class: isPermanent(this.tempered(reply)) ? "permanent" : "temporary",
    });
    return reply;
  }

  /** As the client gets it. Mistakes count as such all the same. */
  tempered(reply: Reply): Reply {
    return this.client.config.server.queue.softBounce ? softened(reply) : reply;
  }

  /** What is answered now counts as an error, also if the answer does not say so. */
  strike(): void {
    this.#strike = true;
  }

  mistake(reason: Reason, reply: Reply): Reply {
    return this.refusal("helo", reason, reply);
  }

  /** Answer, count mistakes, slow down and end those who make too many. */
  #finish(answer: Answer): void | Promise<void> {
    if (answer === undefined) return;
    const { softErrors } = this.client.config.server.limits;
    const { hardErrors } = this.ports.load.patience();
    // A proxy's mistakes are those of many clients.
    const isPatient = isTrustedProxy(this);
    const isSlowed = !isPatient && this.#errors >= softErrors;
    const isError = !isPatient && (isPermanent(answer) || this.#strike);
    this.#strike = false;
    if (isError) this.#errors += 1;
    const give = (): void => {
      this.wire.reply(this.tempered(answer));
      if (isError && this.#errors >= hardErrors) {
        this.log.info({ errors: this.#errors }, "too-many-errors");
        this.wire.reply(this.refusal("connect", "too-many-errors", replies.tooManyErrors));
      } else if (
        this.#draining &&
        this.transaction === undefined &&
        this.incoming === undefined &&
        answer.code !== 421
      ) {
        this.wire.reply(replies.shuttingDown);
      }
    };
    if (!isSlowed || this.ports.errorDelayMs === 0) return give();
    this.#busy = true;
    return new Promise((resolve) => {
      setTimeout(() => {
        this.#busy = false;
        give();
        resolve();
      }, this.ports.errorDelayMs);
    });
  }

  /** RSET, a new hello, a client that is gone: what was begun is nothing. */
  forgetTransaction(): void {
    this.incoming?.intake.cancel();
    this.incoming = undefined;
    this.client.forgetInstance();
    this.transaction = undefined;
    this.forwarded = undefined;
  }

  /** The final dot has come: from here on nothing the client does cancels the message. */
  dataEnded(): void {
    this.client.forgetInstance();
    this.incoming = undefined;
    this.transaction = undefined;
    this.forwarded = undefined;
    this.#busy = true;
  }

  /** The answer to a message: an accepted one forgives earlier mistakes. */
  async finishData(reply: Reply): Promise<void> {
    this.#busy = false;
    if (reply.code === 250) {
      this.#errors = 0;
      this.#junk = 0;
      this.#messages += 1;
      void this.#screening?.delivered();
    }
    await this.#finish(reply);
  }

  lineTooLong(): void {
    this.wire.reply(this.tempered(this.mistake("bad-command", replies.lineTooLong)));
    this.wire.close();
  }

  broken(error: unknown): void {
    this.#broken(error);
    this.wire.reply(replies.broken);
  }

  secured(tls: TlsFacts): void {
    // RFC 3207 §4.2: nothing said in the clear counts any more.
    this.#secure(tls);
    this.client.helo = undefined;
    this.#helloSinceMs = Date.now();
    this.client.user = undefined;
    this.client.pipelinedTooEarly = false;
    this.forgetTransaction();
    metrics.tlsSessions.inc({ direction: "inbound", protocol: tls.protocol });
    this.log.info(
      { protocol: tls.protocol, cipher: tls.cipher, certificate: tls.clientCertificate?.certificate },
      "tls",
    );
  }

  handshakeFailed(error: Error): void {
    metrics.tlsErrors.inc({ direction: "inbound" });
    this.log.info({ error: error.message }, "tls-failed");
  }

  idle(): void {
    this.wire.reply(replies.idle);
  }

  /** Once a second: who drips, says nothing of use, or under stress nothing at all, has had its time. */
  sweep(nowMs: number): void {
    const overdue = this.wire.overdue(nowMs);
    if (!this.#open) return;
    if (overdue === "silent") return this.idle();
    const hasNotSaidHello =
      this.client.helo === undefined && nowMs - this.#helloSinceMs >= this.ports.load.patience().heloMs && !this.#busy;
    if (overdue === "slow" || hasNotSaidHello) this.wire.reply(this.refusal("connect", "too-slow", replies.tooSlow));
  }

  /** Stop when nothing is under way, else after the transaction. */
  drain(): void {
    this.#draining = true;
    if (this.#open && !this.#busy && this.transaction === undefined && this.incoming === undefined)
      this.wire.reply(replies.shuttingDown);
  }

  /** The deadline of a drain has passed. */
  cutOff(): void {
    this.wire.reply(replies.shuttingDown);
  }

  closed(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#screening?.end();
    this.forgetTransaction();
    this.#givePlacesBack();
    if (this.#transcript !== undefined) void this.#overheard(this.#transcript);
    this.#onClosed();
    if (!this.#open) return;
    metrics.connectionsOpen.dec({ listener: this.listenerName });
    const { user, helo } = this.client;
    this.log.info(
      {
        helo: helo?.name,
        user,
        messages: this.#messages,
        errors: this.#errors,
        seconds: (Date.now() - this.#openedMs) / 1000,
      },
      "disconnect",
    );
  }

  async #take(key: string, limit: number): Promise<boolean> {
    try {
      if (!(await this.ports.shared.acquire(key, limit))) return false;
      this.#places.push(key);
      return true;
    } catch (error) {
      this.log.error({ error: error instanceof Error ? error.message : String(error) }, "shared-state-unavailable");
      return true;
    }
  }

  async #overheard(transcript: Transcript): Promise<void> {
    const client = `${(await this.client.name()) ?? "unknown"}[${this.client.address}]`;
    this.ports.notices.consider({ id: this.wire.id, client }, transcript);
  }

  #givePlacesBack(): void {
    if (this.#isCounted) this.ports.load.leave();
    this.#isCounted = false;
    for (const key of this.#places.splice(0)) this.ports.shared.release(key).catch(() => undefined);
  }

  #broken(error: unknown): Reply {
    this.#transcript?.mark("internal");
    this.log.error(
      { error: error instanceof Error ? (error.stack ?? error.message) : String(error) },
      "command-failed",
    );
    return replies.internal;
  }
}
