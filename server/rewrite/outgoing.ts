/**
 * What rewriting makes of a message that leaves by SMTP: envelope and header, for this attempt only; smtp_generic_maps of Postfix.
 *
 * Between the scheduler's choice of next hop and the wire (deliver/smtp.ts). What is stored, logged and reported keeps its addresses. LMTP and mailboxes are ours and see none
 * of it. Without generic maps nothing is looked at. Trouble makes the message wait.
 */
import { HeaderCollector } from "../content/header.ts";
import type { DeliveryJob } from "../deliver/deliver.ts";
import type { QueuedRecipient } from "../queue/queue.ts";
import { type EditedHeader, editedHeader } from "./header-fields.ts";
import { Rewriting, RewritingTrouble } from "./rewriting.ts";

/** Headers come in bounded (limits.headerSize); a longer one is not looked at. */
const LONGEST_HEADER = 4_194_304;

export type Outgoing =
  | { readonly kind: "job"; readonly job: DeliveryJob }
  | { readonly kind: "trouble"; readonly reason: string };

/** The job as the world shall see it; recipients keep their numbers. */
export function outgoing(job: DeliveryJob): Outgoing {
  const { message, config, transport } = job;
  const isLmtp = transport.delivery.kind === "lmtp" || transport.delivery.kind === "lmtp-socket";
  const rewriting = isLmtp ? undefined : Rewriting.of(config);
  if (rewriting?.touchesOutgoing !== true) return { kind: "job", job };
  const { envelope } = message;
  // RFC 5321 §4.5.5: nobody stays nobody.
  const sender =
    envelope.sender === "" ? ({ kind: "address", address: "" } as const) : rewriting.wayOut(envelope.sender);
  if (sender.kind === "trouble") return sender;
  const recipients: QueuedRecipient[] = [];
  for (const recipient of job.recipients) {
    const moved = rewriting.wayOut(recipient.address);
    if (moved.kind === "trouble") return moved;
    recipients.push(moved.address === recipient.address ? recipient : { ...recipient, address: moved.address });
  }
  const edit = (header: Buffer): EditedHeader =>
    editedHeader(header, { rewrite: (address) => rewriting.wayOut(address) });
  return {
    kind: "job",
    job: {
      ...job,
      recipients,
      message: { ...message, envelope: { ...envelope, sender: sender.address } },
      content: () => withHeader(job.content(), edit),
    },
  };
}

/** Throws RewritingTrouble where the message is read; the delivery puts it off. */
async function* withHeader(
  content: AsyncIterable<Buffer>,
  edit: (header: Buffer) => EditedHeader,
): AsyncGenerator<Buffer> {
  let collector: HeaderCollector | undefined = new HeaderCollector();
  for await (const chunk of content) {
    if (collector === undefined) {
      yield chunk;
      continue;
    }
    const whole = collector.take(chunk);
    if (whole === undefined) {
      if (collector.size <= LONGEST_HEADER) continue;
      yield collector.all();
    } else {
      const edited = edit(whole.header);
      if (edited.kind === "trouble") throw new RewritingTrouble(edited.reason);
      yield edited.header;
      if (whole.body.length > 0) yield whole.body;
    }
    collector = undefined;
  }
  if (collector !== undefined && collector.size > 0) yield collector.all();
}
