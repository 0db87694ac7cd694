/**
 * Actions as access(5) writes them → verdicts: what a policy service, an access table or a default action answers.
 *
 * Between whoever got the text (delegate/, a lookup) and the chain. Pure. What cannot be read, and what this server does not do (FILTER, names of restrictions), is a
 * sentence for the log; the caller then does what is safe. Texts of strangers become reply texts: one line of printable ASCII, bounded.
 * access(5), RFC 5321 §4.2 (replies), RFC 3463 (enhanced codes).
 */
import { type Parsed, wrong } from "../config/lookup-template.ts";
import type { Reply } from "../reply.ts";
import { replies } from "../session/replies.ts";
import { parsePath } from "../session/path.ts";
import { prepend } from "./effect.ts";
import {
  defer,
  discard,
  effect,
  pass,
  permit,
  type Reason,
  reject,
  uncertain,
  unsettled,
  type Verdict,
} from "./verdict.ts";

/** RFC 5321 §4.5.3.1.5: 512 octets a line, code and enhanced code included. */
const MAX_TEXT = 400;
/** An answer is a line; what is longer is none of access(5). */
const MAX_ACTION = 4096;

const plainText = (text: string): string =>
  text
    .replaceAll(/[^\x20-\x7E]/g, "?")
    .slice(0, MAX_TEXT)
    .trim();

const { text: serviceUnavailable } = replies.accessDeferIfPermit(undefined);

/** `5.7.1 text`: the class of the code is what counts, as in Postfix. */
function replyOf(code: number, rest: string, unsaid?: string): Reply {
  const [, written, behind = ""] = /^([245]\.\d{1,3}\.\d{1,3})(?:\s+(.*))?$/.exec(rest) ?? [undefined, undefined, rest];
  const text = plainText(behind);
  return replies.accessRefused(code, written ?? "5.7.1", text === "" ? unsaid : text);
}

function addressOf(text: string): string | undefined {
  const parsed = parsePath(`TO:${text.startsWith("<") ? text : `<${text}>`}`, "TO", { strict: true });
  return parsed === undefined || parsed.rest !== "" || !parsed.path.address.includes("@")
    ? undefined
    : parsed.path.address;
}

const done = (value: Verdict): Parsed<Verdict> => ({ ok: true, value });

/** `REJECT text`, `450 4.2.0 text`, `PREPEND field: value` …; `reason` goes with whatever comes of it into log and metrics. */
export function parseAction(action: string, reason: Reason): Parsed<Verdict> {
  if (action.length > MAX_ACTION) return wrong("the action is too long");
  const [, word = "", behind = ""] = /^\s*(\S*)\s*([^]*)$/.exec(action) ?? [];
  const rest = behind.trim();
  if (/^[45]\d\d$/.test(word)) {
    const code = Number(word);
    return done((code < 500 ? defer : reject)(reason, replyOf(code, rest)));
  }
  switch (word.toUpperCase()) {
    case "OK":
      return done(permit(reason));
    case "DUNNO":
      return done(pass);
    case "REJECT":
      return done(reject(reason, replyOf(554, rest)));
    case "DEFER":
      return done(defer(reason, replyOf(450, rest)));
    case "DEFER_IF_PERMIT":
      return done(uncertain(reason, replyOf(450, rest, serviceUnavailable)));
    case "DEFER_IF_REJECT":
      return done(unsettled(reason, replyOf(450, rest, serviceUnavailable)));
    case "DISCARD":
      return done(discard(reason));
    case "HOLD":
      return done(effect({ kind: "hold" }));
    case "REDIRECT":
    case "BCC": {
      const address = addressOf(rest);
      if (address === undefined) return wrong(`${word.toUpperCase()} needs an address, not "${rest.slice(0, 100)}"`);
      return done(effect({ kind: word.toUpperCase() === "BCC" ? "bcc" : "redirect", address }));
    }
    case "PREPEND": {
      const field = prepend(rest);
      return field === undefined
        ? wrong(`PREPEND needs one header field, not "${rest.slice(0, 100)}"`)
        : done(effect(field));
    }
    case "WARN":
      return done({ kind: "note", level: "warn", text: plainText(rest) });
    case "INFO":
      return done({ kind: "note", level: "info", text: plainText(rest) });
    case "FILTER":
      return wrong("FILTER is not an action of this server: a content filter is set for the whole server");
    default:
      // access(5): what consists of digits, as pop-before-smtp programs write it, means OK.
      if (/^\d+$/.test(word) && rest === "") return done(permit(reason));
      return wrong(`"${plainText(word).slice(0, 60)}" is not an action`);
  }
}
