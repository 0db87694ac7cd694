/**
 * Address list: finds the addresses in a header field's value and replaces them in place.
 *
 * Beneath rewrite/header-fields.ts. Display names, comments, groups, folds, encoded words and obsolete routes stay octet for octet; so does everything of which one
 * cannot be sure where an address begins and ends (words side by side, a quote or a bracket that nothing closes). Where nothing is replaced the very same string
 * comes back, so that signatures hold. One pass, linear, no recursion; text is one character for an octet. RFC 5322 §3.4, §4.4 (obsolete forms), §2.1.1 (998 octets).
 */

/** Characters that end an atom. RFC 5322 §3.2.3 (specials) and white space. */
const special = /[\s()<>@,;:\\".[\]]/g;
/** RFC 5322 §2.1.1: a line has at most 998 octets, without its end. Lines are folded well before. */
const LONGEST_LINE = 998;
const FOLD_AT = 900;

interface Visitor {
  /** The octets from `start` to `end` are an address; `text` is it without comments and folds. */
  address(start: number, end: number, text: string): void;
  /** A comma between two addresses. */
  comma(at: number): void;
}

/** What stands between two separators, as far as it was read. */
class Item {
  #text = "";
  #start = -1;
  #end = -1;
  #last: "none" | "word" | "dot" | "at" = "none";
  #ats = 0;
  #isDoubtful = false;

  add(kind: "word" | "dot" | "at", value: string, start: number, end: number): void {
    if (kind === "word" && this.#last === "word") this.#isDoubtful = true;
    if (kind === "at") this.#ats += 1;
    if (this.#start < 0) this.#start = start;
    this.#end = end;
    this.#last = kind;
    if (!this.#isDoubtful) this.#text += value;
  }

  /** No address, whatever follows. */
  doubt(): void {
    this.#isDoubtful = true;
  }

  giveTo(visitor: Visitor): void {
    if (this.#start >= 0 && !this.#isDoubtful && this.#ats <= 1 && this.#last === "word")
      visitor.address(this.#start, this.#end, this.#text);
  }
}

/** The end of a quoted string, comment or literal that begins at `at`; -1 where nothing closes it. */
function closing(text: string, at: number, open: string, close: string): number {
  let depth = 0;
  for (let place = at; place < text.length; place++) {
    const character = text[place];
    if (character === "\\") place += 1;
    else if (character === close && (place > at || open !== close)) {
      depth -= 1;
      if (depth <= 0) return place + 1;
    } else if (character === open && (open === "(" || place === at)) depth += 1;
  }
  return -1;
}

function scan(text: string, visitor: Visitor): void {
  let item = new Item();
  let isInAngle = false;
  for (let at = 0; at < text.length; ) {
    const character = text[at] ?? "";
    switch (character) {
      case " ":
      case "\t":
      case "\r":
      case "\n":
        at += 1;
        break;
      case "(":
      case '"':
      case "[": {
        const end = closing(text, at, character, character === "(" ? ")" : character === "[" ? "]" : '"');
        if (end < 0) return;
        if (character !== "(") item.add("word", text.slice(at, end), at, end);
        at = end;
        break;
      }
      case "<":
        // What came before is a display name; brackets within brackets are nothing.
        item = new Item();
        if (isInAngle) item.doubt();
        isInAngle = true;
        at += 1;
        break;
      case ">":
        if (isInAngle) item.giveTo(visitor);
        isInAngle = false;
        item = new Item();
        // Between the bracket and the next separator nothing is an address.
        item.doubt();
        at += 1;
        break;
      case ",":
      case ";":
        // Within brackets a comma belongs to an obsolete route.
        if (!isInAngle) {
          item.giveTo(visitor);
          if (character === ",") visitor.comma(at);
        }
        item = new Item();
        if (isInAngle && character === ";") item.doubt();
        at += 1;
        break;
      case ":":
        // The name of a group, or the end of an obsolete route.
        item = new Item();
        at += 1;
        break;
      case "@":
        item.add("at", "@", at, at + 1);
        at += 1;
        break;
      case ".":
        item.add("dot", ".", at, at + 1);
        at += 1;
        break;
      case "\\":
      case ")":
      case "]":
        item.doubt();
        at += 1;
        break;
      default: {
        special.lastIndex = at + 1;
        const end = special.exec(text)?.index ?? text.length;
        item.add("word", text.slice(at, end), at, end);
        at = end;
      }
    }
  }
  if (!isInAngle) item.giveTo(visitor);
}

/** `rewrite` gets each address as it is written and answers what to write instead; undefined, or the same: it stays. */
export function rewriteAddresses(text: string, rewrite: (address: string) => string | undefined): string {
  const parts: string[] = [];
  let copied = 0;
  scan(text, {
    address(start, end, written) {
      const replacement = rewrite(written);
      if (replacement === undefined || replacement === written) return;
      parts.push(text.slice(copied, start), replacement);
      copied = end;
    },
    comma: () => undefined,
  });
  if (copied === 0) return text;
  parts.push(text.slice(copied));
  return withinLines(parts.join(""));
}

/** Longer addresses may make a line too long: then it is folded behind commas. */
function withinLines(text: string): string {
  if (text.split("\r\n").every((line) => line.length <= LONGEST_LINE - 78)) return text;
  const commas: number[] = [];
  scan(text, { address: () => undefined, comma: (at) => void commas.push(at) });
  const parts: string[] = [];
  let copied = 0;
  let lineStart = 0;
  let nextFold = text.indexOf("\r\n");
  for (const [place, comma] of commas.entries()) {
    for (; nextFold >= 0 && nextFold < comma; nextFold = text.indexOf("\r\n", lineStart)) lineStart = nextFold + 2;
    const lineEnd = Math.min(commas[place + 1] ?? text.length, nextFold < 0 ? text.length : nextFold);
    if (lineEnd - lineStart <= FOLD_AT || nextFold === comma + 1) continue;
    const isSpace = text[comma + 1] === " " || text[comma + 1] === "\t";
    parts.push(text.slice(copied, comma + 1), isSpace ? "\r\n" : "\r\n\t");
    copied = comma + 1;
    lineStart = copied;
  }
  parts.push(text.slice(copied));
  return parts.join("");
}
