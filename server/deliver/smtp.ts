/**
 * Delivery by SMTP and LMTP: which session, and what to do when a host fails.
 *
 * Called by `create.ts` for one job. A kept session first; else the next hops in order, each with the TLS the policy asks for; where TLS was only
 * an opportunity and its handshake failed, the same host once more in plaintext. A host that fails before it had the whole message gives way to
 * the next, and so does one that puts a recipient off; the last reply stands for all. Promises an outcome for every recipient within the job's signal; never throws.
 * RFC 5321 §5.1, RFC 7435 (opportunistic TLS), RFC 4954 §4 (AUTH).
 */
import ipaddr from "ipaddr.js";
import type { Resolver } from "../dns/resolver.ts";
import { tlsErrors, tlsSessions } from "../observe/metrics.ts";
import { joined } from "../octets.ts";
import type { QueuedRecipient } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";
import { outgoing } from "../rewrite/outgoing.ts";
import { RewritingTrouble } from "../rewrite/rewriting.ts";
import { routeReplies } from "../route/replies.ts";
import { endpointText, openSocket } from "./connect.ts";
import {
  type DeliveryJob,
  type DeliveryOutcome,
  type DeliveryReport,
  failedReport,
  type FailureScope,
} from "./deliver.ts";
import { Dialogue, dialogueText } from "./dialogue.ts";
import { loopReply, type NextHop, nextHops, preferredOver } from "./next-hops.ts";
import { type Mail, Session, type SessionFailure, type SessionTimeouts } from "./session.ts";
import type { SessionCache } from "./session-cache.ts";
import { requirementFor, sessionTls, type TlsRequirement } from "./tls-requirement.ts";
import { interpret, isSpeakable, mailFor, type RecipientOutcome } from "./transaction.ts";

export interface SmtpContext {
  readonly resolver: Resolver;
  readonly cache: SessionCache;
  readonly connectMs: number;
  readonly timeouts: SessionTimeouts;
}

/** Up to here a message is held in memory and sent in one piece; longer ones stream. */
const wholeBytes = 262_144;
/** A session idle for longer is asked with RSET before a message is put on it. */
const trustedIdleMs = 500;
/** Servers that a recipient is offered to in one attempt, as Postfix's smtp_mx_session_limit. */
const MOST_ASKED = 2;

export async function deliverBySmtp(context: SmtpContext, job: DeliveryJob): Promise<DeliveryReport> {
  const asSeen = outgoing(job);
  return asSeen.kind === "job"
    ? await new SmtpDelivery(context, asSeen.job).run()
    : failedReport(job, routeReplies.rewriting, "message");
}

class SmtpDelivery {
  readonly #context: SmtpContext;
  readonly #job: DeliveryJob;
  readonly #lmtp: boolean;
  readonly #outcomes = new Map<number, DeliveryOutcome>();
  /** Put off by one host while another could be asked; stands if nobody takes them. */
  readonly #putOff = new Map<number, DeliveryOutcome>();
  readonly #asked = new Set<string>();
  readonly #dialogues: Dialogue[] = [];
  #connectMs = 0;
  #transmitMs = 0;
  #lastReply: Reply = { code: 451, enhanced: "4.4.1", text: "No mail server answered" };
  #lastHost: string | undefined;

  constructor(context: SmtpContext, job: DeliveryJob) {
    this.#context = context;
    this.#job = job;
    this.#lmtp = job.transport.delivery.kind === "lmtp" || job.transport.delivery.kind === "lmtp-socket";
  }

  async run(): Promise<DeliveryReport> {
    const { config, transport, message } = this.#job;
    for (const recipient of this.#job.recipients) {
      if (!isSpeakable(recipient.address))
        this.#fail(recipient, { code: 501, enhanced: "5.1.3", text: "Bad recipient address syntax" }, "recipient");
    }
    const required = requirementFor(config, transport, { requireTls: message.envelope.requireTls });
    if (required.kind === "refused") return this.#report(required.reply, "destination");
    const { requirement } = required;
    const key = `${transport.destination} ${config.server.outbound.heloName} ${requirement.key}`;

    await this.#overKeptSessions(key);
    if (this.#left().length === 0) return this.#report();

    const connectedFromMs = performance.now();
    const next = await nextHops(config, this.#context.resolver, transport);
    this.#connectMs += performance.now() - connectedFromMs;
    if (next.kind === "none") return this.#report(next.reply, "destination");
    let hops = next.hops;
    for (let hop = hops[0]; hop !== undefined; hop = hops[0]) {
      if (this.#job.signal.aborted) break;
      const current = hop;
      hops = hops.slice(1);
      if (current.endpoint.kind === "tcp" && this.#asked.has(current.endpoint.address)) continue;
      const session = await this.#connect(current, requirement);
      if (session !== undefined && this.#isOurselves(current, session)) {
        session.quit();
        // Names and addresses did not tell (another pod, a load balancer, NAT), its own greeting does.
        if (preferredOver(current, next.hops).length === 0)
          return this.#report(loopReply(current.names.nextHop), "destination");
        hops = preferredOver(current, hops);
        continue;
      }
      if (session !== undefined) await this.#transact(session, key, hops.length > 0);
      if (this.#left().length === 0) break;
    }
    return this.#report(this.#lastReply, "host");
  }

  /** Every pod of this server greets with its hostname. A host that the configuration names may do so too, and is taken at its word. */
  #isOurselves({ preference }: NextHop, session: Session): boolean {
    return preference !== undefined && session.peerName === this.#job.config.server.hostname;
  }

  #dialogue(): Dialogue {
    const dialogue = new Dialogue();
    this.#dialogues.push(dialogue);
    return dialogue;
  }

  /** What an earlier delivery left open. A peer that hung up meanwhile is no failure: the next one is tried, at last a new connection. */
  async #overKeptSessions(key: string): Promise<void> {
    for (let kept = this.#context.cache.take(key); kept !== undefined; kept = this.#context.cache.take(key)) {
      const { session } = kept;
      const dialogue = this.#dialogue();
      dialogue.event(session.keptText);
      session.dialogue = dialogue;
      const stillThere =
        !session.needsReset && kept.idleMs < trustedIdleMs
          ? true
          : await this.#abortable(session, () => session.reset());
      if (!stillThere) {
        session.destroy();
        continue;
      }
      const unanswered = await this.#transact(session, key, true);
      if (!unanswered) return;
    }
  }

  async #connect(hop: NextHop, requirement: TlsRequirement): Promise<Session | undefined> {
    const startedMs = performance.now();
    let opened = await this.#open(hop, requirement, false);
    if (!(opened instanceof Session) && opened.step === "tls") {
      tlsErrors.inc({ direction: "outbound" });
      // RFC 7435 §3: opportunistic security prefers cleartext to no mail. In a new connection: this one is in an unknown state.
      if (requirement.level === "May" && !hop.implicitTls) opened = await this.#open(hop, requirement, true);
    }
    this.#lastHost = hostText(hop);
    this.#connectMs += performance.now() - startedMs;
    if (opened instanceof Session) {
      if (opened.tls !== undefined)
        tlsSessions.inc({ direction: "outbound", protocol: opened.tls.split(" ")[0] ?? "TLS" });
      return opened;
    }
    this.#lastReply = opened.reply;
    return undefined;
  }

  async #open(hop: NextHop, requirement: TlsRequirement, withoutTls: boolean): Promise<Session | SessionFailure> {
    const { config, signal } = this.#job;
    const sources = this.#job.transport.sourceAddresses ?? config.server.outbound.sourceAddresses;
    const socket = await openSocket(hop.endpoint, hop.names.host, this.#context.connectMs, signal, sources);
    const dialogue = this.#dialogue();
    if ("code" in socket) {
      dialogue.event(socket.text);
      return { step: "lost", reply: socket };
    }
    dialogue.event(
      `connected to ${hop.names.host}${endpointText(hop.endpoint)}${withoutTls ? ", without TLS this time" : ""}`,
    );
    const tls = sessionTls(config, requirement, hop.names);
    const opening = Session.open({
      socket,
      host: hop.names.host,
      heloName: config.server.outbound.heloName,
      lmtp: this.#lmtp,
      implicitTls: hop.implicitTls,
      startTls: withoutTls ? "never" : tls.startTls,
      tls: tls.options,
      ...(tls.refusePeer === undefined ? {} : { refusePeer: tls.refusePeer }),
      timeouts: this.#context.timeouts,
      dialogue,
    });
    const onAbort = (): void => void socket.destroy();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      const session = await opening;
      // A reply that ended the session stands in the dialogue already.
      if (!(session instanceof Session) && session.step !== "greeting" && session.step !== "protocol")
        dialogue.event(session.reply.text.split("\n", 1)[0] ?? "");
      return session instanceof Session ? ((await this.#login(session, hop, requirement)) ?? session) : session;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Undefined when there is nothing to log in for, or it succeeded. Our credentials are our trouble: always temporary. */
  async #login(session: Session, hop: NextHop, requirement: TlsRequirement): Promise<SessionFailure | undefined> {
    const { delivery } = this.#job.transport;
    const name = delivery.kind === "smtp" ? delivery.credentials : undefined;
    if (name === undefined) return undefined;
    const refuse = (text: string): SessionFailure => {
      this.#dialogues.at(-1)?.event(text);
      session.destroy();
      return { step: "login", reply: { code: 454, enhanced: "4.7.0", text: `${hop.names.host}: ${text}` } };
    };
    const credentials = this.#job.config.credentials.get(name);
    if (credentials === undefined) return refuse("credentials for it are missing");
    const private_ =
      session.secure ||
      requirement.level === "None" ||
      (hop.endpoint.kind === "tcp" && isLoopback(hop.endpoint.address));
    if (!private_) return refuse("will not send credentials without TLS");
    if (!session.offersLogin) return refuse("server does not offer AUTH");
    const failure = await session.login(credentials.username, credentials.password);
    return failure === undefined
      ? undefined
      : refuse(`authentication failed; server said: ${failure.reply.code} ${failure.reply.text}`);
  }

  /** True when the session turned out to be dead before it heard anything: nothing was decided. */
  async #transact(session: Session, key: string, hasOthers: boolean): Promise<boolean> {
    const startedMs = performance.now();
    const { message } = this.#job;
    const recipients = this.#left();
    const tls = session.tls;
    const host = session.remoteAddress === undefined ? session.host : `${session.host}[${session.remoteAddress}]`;
    this.#lastHost = host;
    const asOf = (number: number, outcome: RecipientOutcome, dsn: boolean): DeliveryOutcome => ({
      recipient: number,
      remoteHost: host,
      ...(tls === undefined ? {} : { tls }),
      ...(outcome.kind === "failed"
        ? { kind: outcome.kind, reply: outcome.reply, scope: outcome.scope }
        : { kind: outcome.kind, reply: outcome.reply, ...(dsn ? { reportsItself: true } : {}) }),
    });
    const settle = (number: number, outcome: RecipientOutcome, dsn: boolean): void => {
      this.#outcomes.set(number, asOf(number, outcome, dsn));
    };
    let content: Awaited<ReturnType<typeof openContent>>;
    try {
      content = this.#job.probe === true ? empty : await openContent(this.#job);
    } catch (error) {
      // Corrupt or unreadable spool: ours, and the same at every host.
      const reply = error instanceof RewritingTrouble ? routeReplies.rewriting : unreadable;
      for (const { number } of recipients) settle(number, { kind: "failed", reply, scope: "message" }, false);
      this.#keep(key, session);
      return false;
    }
    // Rewriting may have made the header longer; RFC 1870 §6.1 lets the size be an estimate, but not too small a one.
    const size = Math.max(message.size, content.size);
    const said = mailFor(session, message.envelope, size, recipients, content);
    if (said.kind === "refused") {
      for (const { number } of recipients)
        settle(number, { kind: "failed", reply: said.reply, scope: "message" }, false);
      await content.dispose();
      this.#keep(key, session);
      return false;
    }
    for (const { recipient, reply } of said.unsayable)
      settle(recipient.number, { kind: "failed", reply, scope: "recipient" }, false);
    const replies = await this.#abortable(session, () =>
      session.send(this.#job.probe === true ? { ...said.mail, probe: true } : said.mail),
    );
    await content.dispose();
    if (replies.failure === undefined && replies.dataEnded && session.isFlushed) content.release();
    if (replies.failure !== undefined) this.#dialogues.at(-1)?.event(replies.failure.reply.text);
    const result = interpret(replies, said.recipients, this.#lmtp, session.host);
    const dsn = session.supports("DSN") && !this.#lmtp;
    if (session.remoteAddress !== undefined && !result.unanswered) this.#asked.add(session.remoteAddress);
    const mayAskOthers = hasOthers && this.#asked.size < MOST_ASKED;
    for (const [number, outcome] of result.outcomes) {
      if (mayAskOthers && outcome.elsewhere === true) this.#putOff.set(number, asOf(number, outcome, dsn));
      else settle(number, outcome, dsn);
    }
    if (result.hostFailure !== undefined) this.#lastReply = result.hostFailure;
    if (result.again && replies.failure === undefined && session.usable && !this.#job.signal.aborted) {
      this.#transmitMs += performance.now() - startedMs;
      return await this.#transact(session, key, hasOthers);
    }
    if (replies.failure === undefined && session.usable && result.hostFailure === undefined) this.#keep(key, session);
    else session.destroy();
    this.#transmitMs += performance.now() - startedMs;
    return result.unanswered;
  }

  #keep(key: string, session: Session): void {
    this.#context.cache.give(key, session, this.#job.transport.messagesPerConnection);
  }

  async #abortable<T>(session: Session, work: () => Promise<T>): Promise<T> {
    const { signal } = this.#job;
    const onAbort = (): void => session.destroy();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      const working = work();
      if (signal.aborted) onAbort();
      return await working;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  #left(): readonly QueuedRecipient[] {
    return this.#job.recipients.filter(({ number }) => !this.#outcomes.has(number));
  }

  #fail(recipient: QueuedRecipient, reply: Reply, scope: FailureScope): void {
    const remoteHost = this.#lastHost === undefined ? {} : { remoteHost: this.#lastHost };
    this.#outcomes.set(recipient.number, { recipient: recipient.number, kind: "failed", reply, scope, ...remoteHost });
  }

  #report(reply: Reply = this.#lastReply, scope: FailureScope = "host"): DeliveryReport {
    for (const [number, outcome] of this.#putOff) if (!this.#outcomes.has(number)) this.#outcomes.set(number, outcome);
    for (const recipient of this.#left()) this.#fail(recipient, reply, scope);
    const outcomes = this.#job.recipients.flatMap(({ number }) => this.#outcomes.get(number) ?? []);
    const dialogue = outcomes.some(({ kind }) => kind === "failed") ? dialogueText(this.#dialogues) : undefined;
    return {
      outcomes,
      connectMs: this.#connectMs,
      transmitMs: this.#transmitMs,
      ...(dialogue === undefined ? {} : { dialogue }),
    };
  }
}

interface OpenContent {
  readonly data: Mail["content"];
  /** Octets, as far as they are known. */
  readonly size: number;
  /** Its beginning, the whole header where somebody has to look at it. */
  readonly head: Buffer;
  /** It was not read to its end, perhaps. */
  dispose(): Promise<void>;
  /** It has left, and nothing refers to it. */
  release(): void;
}

const empty: OpenContent = {
  data: [],
  size: 0,
  head: Buffer.alloc(0),
  dispose: () => Promise.resolve(),
  release: () => undefined,
};
const unreadable: Reply = { code: 451, enhanced: "4.3.0", text: "Queued message could not be read" };

const hostText = ({ names, endpoint }: NextHop): string =>
  endpoint.kind === "tcp" ? `${names.host}[${endpoint.address}]` : endpointText(endpoint);

/** A small message whole, a long one as a stream whose first chunk has been looked at. */
async function openContent(job: DeliveryJob): Promise<OpenContent> {
  const content = job.content();
  const chunks = content[Symbol.asyncIterator]();
  const release = (): void => content.release?.();
  if (job.message.size <= wholeBytes) {
    const data: Buffer[] = [];
    let size = 0;
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) {
      data.push(next.value);
      size += next.value.length;
    }
    const [first = empty.head] = data;
    const head = job.message.envelope.smtpUtf8 ? joined(data) : first;
    return { ...empty, data, size, head, release };
  }
  const head = await chunks.next();
  if (head.done === true) return empty;
  async function* all(start: Buffer): AsyncGenerator<Buffer> {
    yield start;
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) yield next.value;
  }
  return {
    data: all(head.value),
    size: 0,
    head: head.value,
    async dispose() {
      await chunks.return?.();
    },
    release,
  };
}

function isLoopback(address: string): boolean {
  return ipaddr.isValid(address) && ipaddr.process(address).range() === "loopback";
}
