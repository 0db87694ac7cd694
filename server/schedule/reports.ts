/**
 * Who must be told: which reports the results of one attempt cause.
 *
 * Between the verdicts and the queue: what it returns is stored in the commit that settles the recipients. NOTIFY decides (RFC 3461 §4.1); the
 * null sender is never written to: when its mail fails, the postmasters hear of it instead, and when that fails too, only the log does. Postmasters
 * get copies of what `queue.notify` names. A report names a bounded number of recipients; more get further ones.
 * RFC 5321 §6.1 (no bounce for a bounce), RFC 3461 §5.2 (what to report), RFC 3464 §2.3.3 (actions).
 */
import type { LiveConfig } from "../config/schema.ts";
import { type ReportedRecipient, type ReportKind, type ReportRequest, reportOn } from "../dsn/report.ts";
import { originalAddress } from "../dsn/typed-address.ts";
import type { GeneratedMessage, Notify, QueuedMessage, QueuedRecipient } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";
import { recipientKey } from "../route/expansion.ts";
import { lifetimeMs } from "./lifetime.ts";

/** What became of one recipient. */
export interface Result {
  readonly recipient: QueuedRecipient;
  readonly verdict: "delivered" | "deferred" | "failed";
  readonly reply: Reply;
  readonly remoteHost?: string;
  /** Delivered into a mailbox, or handed to the next mail system. */
  readonly action: "delivered" | "relayed";
  /** The peer reports successes itself. */
  readonly reportsItself: boolean;
  /** Deferred, and long enough under way to say so. */
  readonly warn: boolean;
}

export interface Reports {
  readonly messages: readonly { readonly kind: ReportKind; readonly message: GeneratedMessage }[];
  /** Failed recipients nobody could be told about. */
  readonly untold: readonly Result[];
}

export interface ReportContext {
  readonly config: LiveConfig;
  readonly message: QueuedMessage;
  readonly nowMs: number;
  readonly content: () => AsyncIterable<Buffer>;
}

/** Recipients of one report: with all that strangers can make long, it stays below 1 MiB. */
const mostReported = 250;

const expandedReply: Reply = { code: 250, enhanced: "2.0.0", text: "alias expanded" };

/** Whether a sender wants to hear of it. Without NOTIFY: failures and delays, RFC 3461 §4.1. */
export function wants(recipient: QueuedRecipient, what: Exclude<Notify, "NEVER">): boolean {
  const { notify } = recipient;
  return notify === undefined || notify.length === 0 ? what !== "SUCCESS" : notify.includes(what);
}

/** A deferred recipient: whether now is the time to tell anybody that it waits. */
export function isToWarn(
  { config, message, nowMs }: Omit<ReportContext, "content">,
  recipient: QueuedRecipient,
): boolean {
  const { delayWarningMs, notify } = config.server.queue;
  if (delayWarningMs <= 0 || recipient.delayWarned || nowMs - message.receivedMs < delayWarningMs) return false;
  if (message.envelope.sender === "") return false;
  return wants(recipient, "DELAY") || (notify.includes("Delay") && config.server.postmaster.length > 0);
}

/** Most mail: it arrived, and whoever sent it did not ask to be told. */
const isRoutine = ({ recipient, verdict }: Result): boolean =>
  verdict === "delivered" && !recipient.delayWarned && !wants(recipient, "SUCCESS");
const nothingToTell: Reports = { messages: [], untold: [] };

/** `expanded`: aliases of several addresses, which end here for whoever asked to be told of success. RFC 3461 §5.2.7.3 (c). */
export async function reportsFor(
  context: ReportContext,
  results: readonly Result[],
  expanded: readonly QueuedRecipient[] = [],
): Promise<Reports> {
  if (expanded.length === 0 && results.every(isRoutine)) return nothingToTell;
  const { message, config } = context;
  const { sender } = message.envelope;
  const failed = results.filter(({ verdict }) => verdict === "failed");
  if (sender === "") return await aboutNullSender(context, failed);

  const { confirmDelayCleared, notify } = config.server.queue;
  const delayed = results.filter(({ warn }) => warn);
  const delivered = results.filter(({ verdict }) => verdict === "delivered");
  const wantSuccess = delivered.filter(({ recipient }) => wants(recipient, "SUCCESS"));
  const cleared = confirmDelayCleared
    ? delivered.filter(({ recipient }) => recipient.delayWarned && wants(recipient, "DELAY"))
    : [];
  const tellSender = (kind: ReportKind, about: readonly ReportedRecipient[]): Promise<Reports["messages"]> =>
    tell(context, { kind, about, to: [sender], audience: "sender", mayReturnAll: kind === "failed" });
  const tellPostmasters = (kind: ReportKind, about: readonly Result[]): Promise<Reports["messages"]> =>
    tell(context, {
      kind,
      about: about.map(reported),
      to: isPostmaster(config, sender) ? [] : config.server.postmaster,
      audience: "postmaster",
      mayReturnAll: false,
    });
  const messages = await Promise.all([
    tellSender("failed", failed.filter(({ recipient }) => wants(recipient, "FAILURE")).map(reported)),
    tellSender("delayed", delayed.filter(({ recipient }) => wants(recipient, "DELAY")).map(reported)),
    tellSender("success", [
      ...wantSuccess.filter((result) => !result.reportsItself && !cleared.includes(result)).map(reported),
      ...expanded.filter((recipient) => wants(recipient, "SUCCESS")).map(asExpanded),
    ]),
    // Where the next server reports success, a second report of the same would be one too many.
    tellSender(
      "cleared",
      cleared.filter((result) => !(result.reportsItself && wantSuccess.includes(result))).map(reported),
    ),
    notify.includes("Bounce") ? tellPostmasters("failed", failed) : [],
    notify.includes("Delay") ? tellPostmasters("delayed", delayed) : [],
  ]);
  return { messages: messages.flat(), untold: [] };
}

const asExpanded = (recipient: QueuedRecipient): ReportedRecipient => ({
  recipient,
  action: "expanded",
  reply: expandedReply,
});

const reported = ({ recipient, verdict, reply, remoteHost, action }: Result): ReportedRecipient => ({
  recipient,
  action: verdict === "failed" ? "failed" : verdict === "deferred" ? "delayed" : action,
  reply,
  ...(remoteHost === undefined ? {} : { remoteHost }),
});

function isPostmaster(config: LiveConfig, address: string): boolean {
  const key = recipientKey(address);
  return key === "postmaster" || config.server.postmaster.some((each) => recipientKey(each) === key);
}

async function aboutNullSender(context: ReportContext, failed: readonly Result[]): Promise<Reports> {
  const { config } = context;
  const { postmaster } = config.server;
  const { notify } = config.server.queue;
  const leadsToPostmaster = ({ recipient }: Result): boolean =>
    isPostmaster(config, recipient.address) ||
    (recipient.originalRecipient !== undefined && isPostmaster(config, originalAddress(recipient.originalRecipient)));
  const tellable = notify.includes("DoubleBounce") ? failed.filter((result) => !leadsToPostmaster(result)) : [];
  const messages = await tell(context, {
    kind: "failed",
    about: tellable.map(reported),
    to: postmaster,
    audience: "postmaster",
    mayReturnAll: true,
  });
  return { messages, untold: messages.length === 0 ? failed : failed.filter((result) => !tellable.includes(result)) };
}

interface Telling {
  readonly kind: ReportKind;
  readonly about: readonly ReportedRecipient[];
  readonly to: readonly string[];
  readonly audience: ReportRequest["audience"];
  readonly mayReturnAll: boolean;
}

async function tell(
  { config, message, nowMs, content }: ReportContext,
  { kind, about, to, audience, mayReturnAll }: Telling,
): Promise<Reports["messages"]> {
  if (to.length === 0) return [];
  const messages: Reports["messages"][number][] = [];
  for (let start = 0; start < about.length; start += mostReported) {
    const report = await reportOn({
      kind,
      audience,
      hostname: config.server.hostname,
      message,
      recipients: about.slice(start, start + mostReported),
      nowMs,
      giveUpMs: message.receivedMs + lifetimeMs(config.server.queue, message.envelope.sender),
      to: to.map((address) => ({ address })),
      // Once is enough.
      mayReturnAll: mayReturnAll && start === 0,
      content: content(),
    });
    messages.push({ kind, message: report });
  }
  return messages;
}
