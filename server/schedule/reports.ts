/**
 * Who must be told: which reports the results of one attempt cause.
 *
 * Between the verdicts and the queue: what it returns is stored in the commit that settles the recipients. NOTIFY decides (RFC 3461 §4.1); the
 * null sender is never written to: when its mail fails, the postmasters hear of it instead, and when that fails too, only the log does.
 * RFC 5321 §6.1 (no bounce for a bounce), RFC 3461 §5.2 (what to report), RFC 3464 §2.3.3 (actions).
 */
import type { LiveConfig } from "../config/schema.ts";
import { type ReportedRecipient, type ReportKind, reportOn } from "../dsn/report.ts";
import type { GeneratedMessage, Notify, QueuedMessage, QueuedRecipient } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";
import { recipientKey } from "../route/expansion.ts";
import { lifetimeMs } from "./trouble.ts";

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

/** Whether a sender wants to hear of it. Without NOTIFY: failures and delays, RFC 3461 §4.1. */
export function wants(recipient: QueuedRecipient, what: Exclude<Notify, "NEVER">): boolean {
  const { notify } = recipient;
  return notify === undefined || notify.length === 0 ? what !== "SUCCESS" : notify.includes(what);
}

export async function reportsFor(context: ReportContext, results: readonly Result[]): Promise<Reports> {
  const { message, config } = context;
  const { sender } = message.envelope;
  const failed = results.filter(({ verdict }) => verdict === "failed");
  if (sender === "") return await toPostmasters(context, failed);

  const told = async (kind: ReportKind, about: readonly Result[]): Promise<Reports["messages"]> =>
    about.length === 0 ? [] : [{ kind, message: await report(context, kind, about, [sender], false) }];
  const successes = results.filter(
    ({ verdict, recipient, reportsItself }) => verdict === "delivered" && !reportsItself && wants(recipient, "SUCCESS"),
  );
  const delays = config.server.queue.delayWarningMs > 0 ? results.filter(({ warn }) => warn) : [];
  const reports = await Promise.all([
    told(
      "failed",
      failed.filter(({ recipient }) => wants(recipient, "FAILURE")),
    ),
    told("delayed", delays),
    told("success", successes),
  ]);
  return { messages: reports.flat(), untold: [] };
}

async function toPostmasters(context: ReportContext, failed: readonly Result[]): Promise<Reports> {
  const postmasters = context.config.server.postmaster;
  const keys = new Set(["postmaster", ...postmasters.map(recipientKey)]);
  const isPostmaster = ({ recipient }: Result): boolean =>
    keys.has(recipientKey(recipient.address)) ||
    keys.has(recipientKey(recipient.originalRecipient?.replace(/^rfc822;/i, "") ?? ""));
  const tellable = postmasters.length === 0 ? [] : failed.filter((result) => !isPostmaster(result));
  const untold = failed.filter((result) => !tellable.includes(result));
  if (tellable.length === 0) return { messages: [], untold };
  return {
    messages: [{ kind: "failed", message: await report(context, "failed", tellable, postmasters, true) }],
    untold,
  };
}

async function report(
  { config, message, nowMs, content }: ReportContext,
  kind: ReportKind,
  about: readonly Result[],
  to: readonly string[],
  aboutNullSender: boolean,
): Promise<GeneratedMessage> {
  return await reportOn({
    kind,
    hostname: config.server.hostname,
    message,
    recipients: about.map(
      ({ recipient, verdict, reply, remoteHost, action }): ReportedRecipient => ({
        recipient,
        action: verdict === "failed" ? "failed" : verdict === "deferred" ? "delayed" : action,
        reply,
        ...(remoteHost === undefined ? {} : { remoteHost }),
      }),
    ),
    nowMs,
    giveUpMs: message.receivedMs + lifetimeMs(config.server.queue, message.envelope.sender),
    to: to.map((address) => ({ address })),
    aboutNullSender,
    content: content(),
  });
}
