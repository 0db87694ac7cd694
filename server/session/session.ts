/**
 * Session: one client's conversation, from the greeting to the end of the connection.
 *
 * Stands between the connection (listen/) and the policy: keeps what the client has said (ClientFacts, the transaction, a SASL exchange), looks the command up
 * in its table, and is the one place where replies are given, mistakes counted and refusals logged. Commands run one after another.
 * Whatever goes wrong in a handler becomes 451 and a log line. RFC 5321 §3, §4.1.4; RFC 3207 §4.2 (all is forgotten after STARTTLS).
 */
import { isUtf8 } from "node:buffer";
import type { Log } from "../observe/log.ts";
import * as metrics from "../observe/metrics.ts";
import { decide } from "../policy/chain.ts";
import { ClientFacts, type TlsFacts } from "../policy/facts.ts";
import { clientGroup } from "../policy/networks.ts";
import { stages } from "../policy/stages.ts";
import type { Reason, Stage } from "../policy/verdict.ts";
import { isPermanent, type Reply } from "../reply.ts";
import { commands } from "./commands.ts";
import type { Incoming } from "./message.ts";
import type { ListenerSettings, SessionPorts } from "./ports.ts";
import { replies, softened } from "./replies.ts";
import type { Transaction } from "./transaction.ts";
import { OverheardWire, Transcript } from "./transcript.ts";
import type { Conversation, Wire } from "./wire.ts";

/** A reply, or nothing where the handler answers later by itself. */
export type Answer = Reply | undefined;

/** RFC 5321 §4.5.3.1.4 asks for 512 octets; extensions add (SMTPUTF8, DSN); AUTH has its own bound in the connection (RFC 4954 §4.3). */
const MAX_COMMAND_OCTETS = 2048;
// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u0008\u000a-\u001f\u007f]/;

export class Session implements Conversation {
  readonly wire: Wire;
  readonly ports: SessionPorts;
  readonly client: ClientFacts;
  readonly log: Log;
  transaction: Transaction | undefined;
  /** The message being received. */
  incoming: Incoming | undefined;
  /** What takes the next line instead of the table: a SASL exchange. */
  continuation: ((line: string) => Answer | Promise<Answer>) | undefined;
  readonly #settings: ListenerSettings;
  readonly #onClosed: () => void;
  readonly #places: string[] = [];
  readonly #openedMs = Date.now();
  readonly #transcript: Transcript | undefined;
  #errors = 0;
  #busy = false;
  #open = false;
  #closed = false;
  #draining = false;
  #messages = 0;

  constructor(wire: Wire, settings: ListenerSettings, ports: SessionPorts, onClosed: () => void) {
    this.#transcript = ports.notices.wanted ? new Transcript() : undefined;
    this.wire = this.#transcript === undefined ? wire : new OverheardWire(wire, this.#transcript);
    this.ports = ports;
    this.#settings = settings;
    this.#onClosed = onClosed;
    this.log = ports.log.child({ session: wire.id, listener: settings.current.name, client: wire.remoteAddress });
    this.client = new ClientFacts({
      address: wire.remoteAddress,
      config: ports.config,
      listener: () => settings.current,
      reverse: (address) => ports.resolver.reverse(address),
    });
  }

  get listenerName(): string {
    return this.#settings.current.name;
  }

  async greet(): Promise<boolean> {
    const { limits, hostname } = this.client.config.server;
    // Asked early, needed late: the answer is usually there by the first message.
    void this.client.name();
    const group = clientGroup(this.wire.remoteAddress);
    // Both at once: a question to the primary costs more than a place that is given back.
    const [server, client] = await Promise.all([
      this.#take("connections", limits.connections),
      limits.connectionsPerClient === 0 ? true : this.#take(`client:${group}`, limits.connectionsPerClient),
    ]);
    const decision = await decide(stages.connect, { hasPlace: { server, client } });
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
    if (this.#draining) {
      this.wire.reply(replies.shuttingDown);
      return false;
    }
    this.wire.reply(replies.greeting(hostname));
    return true;
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
    this.#transcript?.heard(line, continuation !== undefined);
    if (continuation !== undefined) {
      this.continuation = undefined;
      return continuation(line.toString("latin1").trimEnd());
    }
    const text = line.toString("utf8");
    const space = text.indexOf(" ");
    const verb = (space < 0 ? text : text.slice(0, space)).toUpperCase();
    if (verb !== "AUTH" && line.length > MAX_COMMAND_OCTETS) return this.mistake("bad-command", replies.lineTooLong);
    if (!isUtf8(line) || control.test(text)) return this.mistake("bad-command", replies.badCharacters);
    const row = commands.get(verb);
    if (row === undefined) {
      // Web pages that make a browser speak to a mail port end here.
      const isHttp = / HTTP\/\d\.\d$/.test(text);
      return this.mistake("bad-command", isHttp ? replies.httpSpoken : replies.unknownCommand);
    }
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

  mistake(reason: Reason, reply: Reply): Reply {
    return this.refusal("helo", reason, reply);
  }

  /** Answer, count mistakes, slow down and end those who make too many. */
  #finish(answer: Answer): void | Promise<void> {
    if (answer === undefined) return;
    const { softErrors, hardErrors } = this.client.config.server.limits;
    if (isPermanent(answer)) this.#errors += 1;
    const give = (): void => {
      this.wire.reply(this.tempered(answer));
      if (isPermanent(answer) && this.#errors >= hardErrors) {
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
    if (answer.code < 400 || this.#errors <= softErrors || this.ports.errorDelayMs === 0) return give();
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
    this.transaction = undefined;
  }

  /** The final dot has come: from here on nothing the client does cancels the message. */
  dataEnded(): void {
    this.incoming = undefined;
    this.transaction = undefined;
    this.#busy = true;
  }

  /** The answer to a message: an accepted one forgives earlier mistakes. */
  async finishData(reply: Reply): Promise<void> {
    this.#busy = false;
    if (reply.code === 250) {
      this.#errors = 0;
      this.#messages += 1;
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
    this.client.tls = tls;
    this.client.helo = undefined;
    this.client.user = undefined;
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
