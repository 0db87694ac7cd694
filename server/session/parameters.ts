/**
 * Parameters: what follows the path in MAIL and RCPT, strictly.
 *
 * Pure; a parameter that is unknown, repeated, without its value or with a broken one is a value (`problem`) that names it. ENVID and ORCPT are
 * kept as given, in xtext, so that they pass on unchanged and are decoded only where a report shows them.
 * RFC 1870 (SIZE), RFC 6152 (BODY), RFC 6531 (SMTPUTF8), RFC 4954 §5 (AUTH), RFC 3461 §4 (RET, ENVID, NOTIFY, ORCPT).
 */
import type { Notify } from "../queue/queue.ts";

export interface MailParameters {
  readonly size: number | undefined;
  readonly body: "7BIT" | "8BITMIME";
  readonly smtpUtf8: boolean;
  readonly return: "FULL" | "HDRS" | undefined;
  readonly envelopeId: string | undefined;
}

export interface RcptParameters {
  readonly notify: readonly Notify[] | undefined;
  readonly originalRecipient: string | undefined;
}

export type Parsed<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "unknown" }
  | { readonly kind: "problem"; readonly name: string };

/** RFC 3461 §4: printable ASCII but `+` and `=`, the rest as `+XX`. */
const xtext = /^(?:[!-*,-<>-~]|\+[0-9A-F]{2})+$/;
/** RFC 3461 §4.4: 100 octets; §4.2: 500 octets. */
const MAX_ENVID = 100;
const MAX_ORCPT = 500;

const MAIL_KEYWORDS = new Set(["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"]);
const RCPT_KEYWORDS = new Set(["NOTIFY", "ORCPT"]);
const NOTIFY_WORDS: ReadonlySet<string> = new Set<Notify>(["SUCCESS", "FAILURE", "DELAY"]);

/** Keyword → value (undefined: none given); a string is the name of what was repeated or malformed, null something unknown. */
function split(rest: string, known: ReadonlySet<string>): Map<string, string | undefined> | string | null {
  const found = new Map<string, string | undefined>();
  for (const word of rest.split(" ")) {
    if (word === "") continue;
    const equals = word.indexOf("=");
    const name = (equals < 0 ? word : word.slice(0, equals)).toUpperCase();
    if (!known.has(name)) return null;
    if (found.has(name)) return name;
    found.set(name, equals < 0 ? undefined : word.slice(equals + 1));
  }
  return found;
}

const NO_MAIL_PARAMETERS: Parsed<MailParameters> = {
  kind: "ok",
  value: { size: undefined, body: "7BIT", smtpUtf8: false, return: undefined, envelopeId: undefined },
};
const NO_RCPT_PARAMETERS: Parsed<RcptParameters> = {
  kind: "ok",
  value: { notify: undefined, originalRecipient: undefined },
};

export function parseMailParameters(rest: string): Parsed<MailParameters> {
  if (rest === "") return NO_MAIL_PARAMETERS;
  const found = split(rest, MAIL_KEYWORDS);
  if (found === null) return { kind: "unknown" };
  if (typeof found === "string") return { kind: "problem", name: found };
  const problem = (name: string): Parsed<MailParameters> => ({ kind: "problem", name });

  const size = found.get("SIZE");
  if (found.has("SIZE") && (size === undefined || !/^\d{1,20}$/.test(size))) return problem("SIZE");
  const body = found.get("BODY")?.toUpperCase();
  if (found.has("BODY") && body !== "7BIT" && body !== "8BITMIME") return problem("BODY");
  if (found.has("SMTPUTF8") && found.get("SMTPUTF8") !== undefined) return problem("SMTPUTF8");
  const ret = found.get("RET")?.toUpperCase();
  if (found.has("RET") && ret !== "FULL" && ret !== "HDRS") return problem("RET");
  const envid = found.get("ENVID");
  if (found.has("ENVID") && (envid === undefined || envid.length > MAX_ENVID || !xtext.test(envid)))
    return problem("ENVID");
  // RFC 4954 §5: read and not believed; `<>` says the same as nothing.
  const auth = found.get("AUTH");
  if (found.has("AUTH") && (auth === undefined || auth.length > MAX_ORCPT || !(auth === "<>" || xtext.test(auth))))
    return problem("AUTH");

  return {
    kind: "ok",
    value: {
      size: size === undefined ? undefined : Number(size),
      body: body === "8BITMIME" ? "8BITMIME" : "7BIT",
      smtpUtf8: found.has("SMTPUTF8"),
      return: ret === "FULL" || ret === "HDRS" ? ret : undefined,
      envelopeId: envid,
    },
  };
}

export function parseRcptParameters(rest: string, options: { readonly smtpUtf8: boolean }): Parsed<RcptParameters> {
  if (rest === "") return NO_RCPT_PARAMETERS;
  const found = split(rest, RCPT_KEYWORDS);
  if (found === null) return { kind: "unknown" };
  if (typeof found === "string") return { kind: "problem", name: found };

  const notify = found.has("NOTIFY") ? parseNotify(found.get("NOTIFY")) : undefined;
  if (notify === null) return { kind: "problem", name: "NOTIFY" };
  const orcpt = found.get("ORCPT");
  if (found.has("ORCPT") && !isOriginalRecipient(orcpt, options.smtpUtf8)) return { kind: "problem", name: "ORCPT" };
  return { kind: "ok", value: { notify, originalRecipient: orcpt } };
}

/** RFC 3461 §4.1: NEVER stands alone; words are not repeated. */
function parseNotify(value: string | undefined): readonly Notify[] | null {
  const words = value?.toUpperCase().split(",") ?? [];
  if (words.length === 1 && words[0] === "NEVER") return ["NEVER"];
  const known = words.filter((word): word is Notify => NOTIFY_WORDS.has(word));
  return words.length > 0 && known.length === words.length && new Set(known).size === known.length ? known : null;
}

/** RFC 3461 §4.2 `addr-type;xtext`; RFC 6533 §3 lets utf-8 addresses stand as they are under SMTPUTF8. */
function isOriginalRecipient(value: string | undefined, smtpUtf8: boolean): boolean {
  if (value === undefined || value.length > MAX_ORCPT) return false;
  const semicolon = value.indexOf(";");
  const type = value.slice(0, Math.max(semicolon, 0));
  if (!/^[A-Za-z0-9][A-Za-z0-9-]*$/.test(type)) return false;
  const address = value.slice(semicolon + 1);
  if (xtext.test(address)) return true;
  return (
    smtpUtf8 &&
    type.toLowerCase() === "utf-8" &&
    /^(?:[!-*,-<>-~\u00a0-\u{10ffff}]|\\x\{[0-9A-F]{2,6}\})+$/u.test(address)
  );
}
