/**
 * The command line of sendmail(1): options older than getopt_long, as programs of forty years call it. Pure; a mistake is a sentence.
 *
 * Letters may be joined (`-ti`), values attached (`-fbob`) or follow (`-f bob`), options stand before or behind recipients, `--` ends them. What only
 * steered a daemon of old is read and ignored, so that nothing that worked breaks. Our own options are the long ones.
 */
export interface SendmailOptions {
  readonly mode: "message" | "smtp" | "verify" | "list" | "flush" | "nothing";
  /** Envelope sender; "" is the null sender. */
  readonly sender: string | undefined;
  readonly fullName: string | undefined;
  /** Take recipients from To, Cc and Bcc too. */
  readonly fromHeader: boolean;
  /** A line with a dot alone ends the message. */
  readonly dotEnds: boolean;
  readonly body: "7BIT" | "8BITMIME";
  readonly notify: readonly string[] | undefined;
  readonly envelopeId: string | undefined;
  readonly return: "FULL" | "HDRS" | undefined;
  readonly verbose: boolean;
  readonly recipients: readonly string[];
  readonly server: string | undefined;
  readonly user: string | undefined;
  readonly passwordFile: string | undefined;
  readonly tls: "may" | "verify" | "implicit" | undefined;
  readonly data: string | undefined;
}

export type ParsedOptions =
  | { readonly kind: "options"; readonly options: SendmailOptions }
  | { readonly kind: "problem"; readonly message: string };

/** With a value, attached or next; with one attached or none; without. */
const valued = "BCFfhLNORrVXp";
const attached = "obqdA";
const bare = "GImnsStUvixE";
const modes: Readonly<Record<string, SendmailOptions["mode"]>> = {
  m: "message",
  s: "smtp",
  v: "verify",
  p: "list",
  i: "nothing",
};
const long = new Set(["server", "user", "password-file", "tls", "data"]);
const notifyWords = new Set(["SUCCESS", "FAILURE", "DELAY"]);

class Problem extends Error {}

export function parseSendmail(parameters: readonly string[]): ParsedOptions {
  try {
    return { kind: "options", options: read(parameters) };
  } catch (cause) {
    if (cause instanceof Problem) return { kind: "problem", message: cause.message };
    throw cause;
  }
}

function read(parameters: readonly string[]): SendmailOptions {
  const found: { -readonly [Name in keyof SendmailOptions]: SendmailOptions[Name] } = {
    mode: "message",
    sender: undefined,
    fullName: undefined,
    fromHeader: false,
    dotEnds: true,
    body: "8BITMIME",
    notify: undefined,
    envelopeId: undefined,
    return: undefined,
    verbose: false,
    recipients: [],
    server: undefined,
    user: undefined,
    passwordFile: undefined,
    tls: undefined,
    data: undefined,
  };
  const recipients: string[] = [];
  const words = [...parameters];
  const value = (name: string): string => {
    const word = words.shift();
    if (word === undefined) throw new Problem(`option ${name} needs a value`);
    return word;
  };
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === "--") {
      recipients.push(...words.splice(0));
    } else if (word.startsWith("--")) {
      const equals = word.indexOf("=");
      const name = word.slice(2, equals < 0 ? undefined : equals);
      if (!long.has(name)) throw new Problem(`unknown option --${name}`);
      setLong(found, name, equals < 0 ? value(word) : word.slice(equals + 1));
    } else if (word.startsWith("-") && word.length > 1) {
      for (let at = 1; at < word.length; at++) {
        const letter = word.charAt(at);
        const rest = word.slice(at + 1);
        if (bare.includes(letter)) setFlag(found, letter);
        else if (attached.includes(letter)) {
          // `-o i` and `-b s` exist too; a lone -q or -d has no value.
          const needs = (letter === "o" || letter === "b") && rest === "";
          setAttached(found, letter, needs ? value(`-${letter}`) : rest);
          break;
        } else if (valued.includes(letter)) {
          setValued(found, letter, rest === "" ? value(`-${letter}`) : rest);
          break;
        } else throw new Problem(`unknown option -${letter}`);
      }
    } else recipients.push(word);
  }
  return { ...found, recipients };
}

type Found = { -readonly [Name in keyof SendmailOptions]: SendmailOptions[Name] };

function setFlag(found: Found, letter: string): void {
  if (letter === "t") found.fromHeader = true;
  else if (letter === "i") found.dotEnds = false;
  else if (letter === "v") found.verbose = true;
  else if (letter === "I") found.mode = "nothing";
}

function setAttached(found: Found, letter: string, value: string): void {
  if (letter === "b") {
    const mode = modes[value];
    if (mode === undefined) throw new Problem(`there is no mode -b${value} here: this is no daemon`);
    found.mode = mode;
  } else if (letter === "q") found.mode = "flush";
  else if (letter === "o" && value.startsWith("i")) found.dotEnds = false;
}

function setValued(found: Found, letter: string, value: string): void {
  switch (letter) {
    case "f":
    case "r":
      found.sender = value.replace(/^<(.*)>$/, "$1");
      return;
    case "F":
      found.fullName = value;
      return;
    case "B": {
      const body = value.toUpperCase();
      if (body !== "7BIT" && body !== "8BITMIME") throw new Problem(`-B ${value}: 7BIT or 8BITMIME is meant`);
      found.body = body;
      return;
    }
    case "N": {
      const words = value.toUpperCase().split(",");
      const isNever = words.length === 1 && words[0] === "NEVER";
      if (!isNever && !words.every((word) => notifyWords.has(word)))
        throw new Problem(`-N ${value}: never, or some of failure, delay, success`);
      found.notify = words;
      return;
    }
    case "V":
      if (!/^[\x20-\x7e]{1,100}$/.test(value)) throw new Problem("-V: at most 100 printable characters");
      found.envelopeId = value;
      return;
    case "R": {
      const what = value.toUpperCase();
      if (what !== "FULL" && what !== "HDRS") throw new Problem(`-R ${value}: full or hdrs is meant`);
      found.return = what;
      return;
    }
  }
}

function setLong(found: Found, name: string, value: string): void {
  switch (name) {
    case "server":
      found.server = value;
      return;
    case "user":
      found.user = value;
      return;
    case "password-file":
      found.passwordFile = value;
      return;
    case "data":
      found.data = value;
      return;
    case "tls":
      if (value !== "may" && value !== "verify" && value !== "implicit")
        throw new Problem("--tls: may, verify or implicit");
      found.tls = value;
      return;
  }
}
