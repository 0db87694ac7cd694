/**
 * The part of a report that people read: to whom, what happened, what the other server said, what can be done.
 *
 * Pure; plain text. Common troubles (by the enhanced status code) have a sentence each; all others quote the server alone. Names a bounded number of
 * recipients, the rest stands in the second part. RFC 3464 §2 (human-readable part), RFC 3463 (meaning of status codes).
 */
import { replyLine } from "../reply.ts";
import { isGivenUp, isOurWord, statusOf } from "./delivery-status.ts";
import { cut, fieldText, mailDate, shortened } from "./mime.ts";
import type { ReportedRecipient, ReportRequest } from "./report.ts";
import { originalAddress } from "./typed-address.ts";

const mostNamed = 50;
const mostOfReply = 500;

export function humanText(request: ReportRequest, utf8: boolean): string {
  const { hostname, recipients, message } = request;
  const lines = [`This is the mail system at host ${hostname}.`, "", ...opening(request), ""];
  for (const each of recipients.slice(0, mostNamed)) lines.push(...aboutRecipient(request, each, utf8), "");
  const unnamed = recipients.length - mostNamed;
  if (unnamed > 0) lines.push(...paragraph(`And ${unnamed} more: the attached report names them all.`), "");
  lines.push(
    ...paragraph(
      request.audience === "postmaster"
        ? `The message is known here as ${message.id}.`
        : `If you need help, send this report to your postmaster. The message is known here as ${message.id}.`,
    ),
  );
  return `${lines.join("\r\n")}\r\n`;
}

function opening(request: ReportRequest): readonly string[] {
  const { kind, giveUpMs, message, recipients } = request;
  const several = recipients.length > 1;
  if (request.audience === "postmaster") return openingForPostmaster(request);
  switch (kind) {
    case "failed":
      return paragraph(
        `Your message of ${mailDate(message.receivedMs)} could not be delivered to ${several ? "the recipients" : "the recipient"} ` +
          "below. Nothing more will be tried. What you sent, or its header, is attached.",
      );
    case "delayed":
      return paragraph(
        `Your message of ${mailDate(message.receivedMs)} could not be delivered yet. THIS IS A WARNING ONLY: you need not send it ` +
          `again. Delivery will be tried until ${mailDate(giveUpMs)}.`,
      );
    case "cleared":
      return paragraph("Your message that was reported as delayed has now been delivered. You need do nothing.");
    case "success":
      return paragraph("You asked to be told when your message is delivered. This is what became of it.");
  }
}

function openingForPostmaster({ kind, message, giveUpMs }: ReportRequest): readonly string[] {
  if (message.envelope.sender === "")
    return paragraph(
      "A message without a sender, such as a delivery report, could not be delivered, and there is nobody else to tell. It is attached.",
    );
  const sender = shortened(fieldText(message.envelope.sender, false), 320);
  return paragraph(
    kind === "delayed"
      ? `A message of <${sender}> could not be delivered yet. It will be tried until ${mailDate(giveUpMs)}. Its header is attached.`
      : `A message of <${sender}> could not be delivered. Its header is attached.`,
  );
}

function aboutRecipient(request: ReportRequest, each: ReportedRecipient, utf8: boolean): readonly string[] {
  const { recipient, remoteHost, reply, action } = each;
  const lines = [`<${cut(fieldText(recipient.address, utf8))}>`];
  const original =
    recipient.originalRecipient === undefined ? recipient.address : originalAddress(recipient.originalRecipient);
  if (original !== recipient.address) lines.push(`    (you wrote to <${cut(fieldText(original, utf8))}>)`);
  const { what, advice } = explanation(request, each);
  if (what !== undefined) lines.push(...paragraph(what, "    "));
  const said = shortened(fieldText(replyLine(reply), utf8), mostOfReply);
  if (action !== "expanded") {
    const ours = isOurWord(reply, remoteHost);
    const who = ours ? "Reason:" : `The server ${shortened(fieldText(remoteHost ?? "", false), 255)} said:`;
    lines.push(...paragraph(`${who} ${said}`, "    "));
  }
  if (advice !== undefined && request.audience === "sender")
    lines.push(...paragraph(`What you can do: ${advice}`, "    "));
  return lines;
}

interface Explanation {
  readonly what?: string;
  readonly advice?: string;
}

const unknownAddress: Explanation = {
  what: "There is no mailbox with this address.",
  advice: "check the address for typing mistakes, or ask the person for the current one.",
};
const unknownDomain: Explanation = {
  what: "The part after the @ does not exist, or takes no mail.",
  advice: "check that part of the address for typing mistakes.",
};
const tooLarge: Explanation = {
  what: "The message is larger than the other side takes.",
  advice: "send it without large attachments, or share those in another way.",
};
const refusedByPolicy: Explanation = {
  what: "The other side refused the message because of its rules, for instance as unwanted mail.",
  advice: "read its answer above, change the message where it says so, or reach the person in another way.",
};
const full: Explanation = {
  what: "The mailbox is full.",
  advice: "tell the person in another way; send the message again once there is room.",
};
const unreachable: Explanation = {
  what: "The other mail server could not be reached.",
  advice: "send the message again later, or reach the person in another way.",
};

/** By subject and detail of the status code: RFC 3463 §3. */
const explanations: Readonly<Record<string, Explanation>> = {
  "1.0": unknownAddress,
  "1.1": unknownAddress,
  "1.2": unknownDomain,
  "1.3": { what: "The address is not written as an address must be.", advice: "correct the address." },
  "1.6": {
    what: "The mailbox has moved, or is no longer used.",
    advice: "use the new address if the answer above names one.",
  },
  "1.10": { what: "The domain takes no mail at all.", advice: "check the part of the address after the @." },
  "2.1": { what: "The mailbox is closed or takes no mail now.", advice: "reach the person in another way." },
  "2.2": full,
  "2.3": tooLarge,
  "3.4": tooLarge,
  "4.1": unreachable,
  "4.2": unreachable,
  "4.3": unreachable,
  "4.4": unreachable,
  "4.6": {
    what: "The address leads in a circle.",
    advice: "tell the postmaster: only somebody who manages the addresses can mend it.",
  },
  "6.7": {
    what: "The other mail server does not take addresses or headers with international characters.",
    advice: "use an address of plain letters, if there is one.",
  },
  "7.1": refusedByPolicy,
  "7.26": refusedByPolicy,
};

function explanation(request: ReportRequest, { reply, action, status }: ReportedRecipient): Explanation {
  switch (action) {
    case "delivered":
      return { what: "The message was delivered." };
    case "relayed":
      return {
        what:
          request.kind === "cleared"
            ? "The message was handed to the next mail server."
            : "The message was handed to a mail server that does not send such reports: you will hear no more of it from here.",
      };
    case "expanded":
      return {
        what: "The address stands for several others. The message was sent on to all of them; you will hear of failures only.",
      };
    case "failed":
    case "delayed": {
      const code = /^[45]\.(\d{1,3}\.\d{1,3})$/.exec(status ?? (reply.enhanced || statusOf(reply, action)))?.[1] ?? "";
      const found = explanations[code] ?? (code.startsWith("7.") ? refusedByPolicy : {});
      if (action === "delayed") return found.what === undefined ? {} : { what: found.what };
      const advice =
        found.advice ?? "read the answer above; correct what it complains about and send the message again.";
      if (!isGivenUp(reply, action)) return { ...found, advice };
      return {
        what: `It was tried again and again for ${period(request.nowMs - request.message.receivedMs)}, without success. ${found.what ?? ""}`.trim(),
        advice,
      };
    }
  }
}

function period(ms: number): string {
  const hours = ms / 3_600_000;
  const [count, unit] =
    hours >= 48 ? [hours / 24, "day"] : hours >= 2 ? [hours, "hour"] : [Math.max(1, ms / 60_000), "minute"];
  const whole = Math.round(count);
  return `${whole} ${unit}${whole === 1 ? "" : "s"}`;
}

/** Lines of at most 72 characters; a longer word gets a line of its own. */
function paragraph(text: string, indent = ""): readonly string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(" ").filter((each) => each !== "")) {
    if (line.length + word.length >= 72 && line.trim() !== "") {
      lines.push(line);
      line = indent;
    }
    line += line === indent ? cut(word) : ` ${cut(word)}`;
  }
  return [...lines, line];
}
