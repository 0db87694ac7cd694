/**
 * Placeholders of Postfix's table parameters: `%s`, `%u`, `%d`, `%S`, `%U`, `%D`, `%1` … `%9`, `%%` (mysql_table(5), ldap_table(5)).
 *
 * Parsed once with the configuration, expanded at every look-up. Pure. A template that cannot be read is a sentence; a key that does not have what a
 * placeholder asks for (no domain, an empty local part, too few labels) suppresses the question: undefined.
 */

type Part = "whole" | "local" | "domain" | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9;
/** Text as it is, or a part of the key or of the value found. */
export type Piece = string | { readonly of: "key" | "value"; readonly part: Part };

/** `error`: a sentence that says what to change. */
export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: string };
export const wrong = (error: string): { readonly ok: false; readonly error: string } => ({ ok: false, error });

const lower: Readonly<Record<string, Part>> = { s: "whole", u: "local", d: "domain" };

/** The placeholder that begins at the `%` at `at`; undefined for an unknown one. `value`: what small letters mean. */
export function pieceAt(text: string, at: number, small: "key" | "value"): Piece | undefined {
  const letter = text[at + 1] ?? "";
  if (letter === "%") return "%";
  if (letter >= "1" && letter <= "9" && letter.length === 1) return { of: "key", part: Number(letter) as Part };
  const part = Object.hasOwn(lower, letter.toLowerCase()) ? lower[letter.toLowerCase()] : undefined;
  if (part === undefined) return undefined;
  return { of: letter === letter.toLowerCase() ? small : "key", part };
}

export const unknownPlaceholder = (text: string, at: number): string =>
  `${text.slice(at, at + 2)} is not a placeholder; use %s, %u, %d, %S, %U, %D or %1 to %9, and write %% for a percent sign.`;

export function parseTemplate(text: string, small: "key" | "value"): Parsed<readonly Piece[]> {
  const pieces: Piece[] = [];
  let literal = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? "";
    if (character !== "%") {
      literal += character;
      continue;
    }
    const piece = pieceAt(text, at, small);
    if (piece === undefined) return wrong(unknownPlaceholder(text, at));
    at++;
    if (typeof piece === "string") literal += piece;
    else {
      if (literal !== "") pieces.push(literal);
      literal = "";
      pieces.push(piece);
    }
  }
  if (literal !== "") pieces.push(literal);
  return { ok: true, value: pieces };
}

function partOf(text: string, part: Part): string | undefined {
  if (part === "whole") return text === "" ? undefined : text;
  const at = text.lastIndexOf("@");
  // As Postfix: the local part of what has no @ is all of it.
  if (part === "local") return (at < 0 ? text : text.slice(0, at)) || undefined;
  const domain = at < 0 ? "" : text.slice(at + 1);
  if (part === "domain") return domain === "" ? undefined : domain;
  // %1 is the most significant label: com of example.com.
  return domain.split(".").at(-part) || undefined;
}

/** undefined: the key or the value lacks what a placeholder names. `quote` is applied to what is put in, never to the template's own text. */
export function expandTemplate(
  pieces: readonly Piece[],
  key: string,
  value = "",
  quote: (text: string) => string = (text) => text,
): string | undefined {
  let out = "";
  for (const piece of pieces) {
    if (typeof piece === "string") {
      out += piece;
      continue;
    }
    const part = partOf(piece.of === "key" ? key : value, piece.part);
    if (part === undefined) return undefined;
    out += quote(part);
  }
  return out;
}
