/**
 * What a peer answered, as a Reply: one place that turns strangers' bytes into code, enhanced code and text.
 *
 * Used by `session.ts`; pure, bounded. A line that is no SMTP reply becomes 451: unknown is temporary. The code of the first line counts.
 * RFC 5321 §4.2 (reply lines), RFC 2034 §4 (enhanced codes), RFC 3463 §2 (class must agree with the code).
 */
import type { Reply } from "../reply.ts";

/** Enough for any sentence a person reads; a log line and a bounce stay small. */
const longestText = 1000;

/** Servers say the same few sentences for ever, and a message hears five. Bounded in number and length; forgotten all at once. */
const heard = new Map<string, Reply>();
const mostHeard = 64;
const longestHeard = 100;

export function parsePeerReply(raw: string): Reply {
  const known = heard.get(raw);
  if (known !== undefined) return known;
  const reply = parse(raw);
  if (raw.length > longestHeard) return reply;
  if (heard.size >= mostHeard) heard.clear();
  heard.set(raw, reply);
  return reply;
}

function parse(raw: string): Reply {
  const code = Number(/^([2-5]\d\d)(?:[ -]|$|\r?\n)/.exec(raw)?.[1] ?? 0);
  if (code === 0) return { code: 451, enhanced: "4.5.0", text: `Unintelligible reply: ${printable(raw)}` };
  const lines = raw.slice(0, 4 * longestText).split(/\r?\n/);
  let enhanced = "";
  const texts: string[] = [];
  for (const line of lines) {
    let text = line.replace(/^[2-5]\d\d[ -]?/, "");
    const status = /^([245]\.\d{1,3}\.\d{1,3})(?: |$)/.exec(text)?.[1];
    if (status !== undefined && (enhanced === "" || enhanced === status)) {
      // RFC 2034 §4: repeated on every line; said once here.
      if (status.startsWith(String(code)[0] ?? "")) enhanced = status;
      text = text.slice(status.length + 1);
    }
    texts.push(printable(text));
  }
  return { code, enhanced, text: texts.join("\n").slice(0, longestText) };
}

/** No control characters: replies go into logs and reports. */
const printable = (text: string): string => text.slice(0, longestText).replaceAll(/\p{Cc}+/gu, " ");
