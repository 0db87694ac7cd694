/**
 * A Postfix query (`SELECT goto FROM alias WHERE address = '%s'`) → a prepared statement and what its parameters are made of.
 *
 * Parsed once, by the operator to refuse it with a sentence and by the server to run it. Placeholders never become part of the statement's text: a string literal that
 * holds one becomes one parameter, composed by us; outside quotes only whole numbers go in. Pure; the promise is that no key changes what is asked.
 */
import {
  expandTemplate,
  type Parsed,
  type Piece,
  parseTemplate,
  pieceAt,
  unknownPlaceholder,
  wrong,
} from "./lookup-template.ts";

interface Parameter {
  readonly pieces: readonly Piece[];
  /** Text: a literal of the query. Like: the pattern of LIKE, where % and _ of a key stand for themselves. Number: written without quotes. */
  readonly as: "text" | "like" | "number";
}
export interface SqlQuery {
  /** With `?` for every parameter. */
  readonly sql: string;
  readonly parameters: readonly Parameter[];
}

const isWord = (character: string | undefined): boolean =>
  character !== undefined && /[\w$\u0080-\uFFFF]/.test(character);

const escapes: Readonly<Record<string, string>> = { "0": "\0", b: "\b", n: "\n", r: "\r", t: "\t", Z: "\u001A" };

/** Where the literal that opens at `from` ends: the place of its closing quote; -1 without one. */
function closing(text: string, from: number): number {
  const quote = text[from];
  for (let at = from + 1; at < text.length; at++) {
    if (text[at] === "\\" && quote !== "`") at++;
    else if (text[at] === quote) {
      if (text[at + 1] !== quote) return at;
      at++;
    }
  }
  return -1;
}

/** The end of a comment that begins at `at`; undefined where none does. */
function commentEnd(text: string, at: number): number | undefined {
  if (text.startsWith("/*", at)) {
    const end = text.indexOf("*/", at + 2);
    return end < 0 ? text.length : end + 2;
  }
  if (text[at] === "#" || /^--(?:\s|$)/.test(text.slice(at, at + 3))) {
    const end = text.indexOf("\n", at);
    return end < 0 ? text.length : end;
  }
  return undefined;
}

/**
 * What MySQL would read in a string literal, with the placeholders in their places. `\\%` and `\\_` keep their backslash, because only LIKE
 * understands them.
 */
function literalPieces(raw: string, quote: string): Parsed<readonly Piece[]> {
  const pieces: Piece[] = [];
  let text = "";
  for (let at = 0; at < raw.length; at++) {
    const character = raw[at] ?? "";
    const next = raw[at + 1] ?? "";
    if (character === quote) at++; // doubled
    if (character === "\\" && next !== "%") {
      at++;
      text += next === "_" ? "\\_" : (escapes[next] ?? next);
      continue;
    }
    if (character !== "%") {
      text += character;
      continue;
    }
    const piece = pieceAt(raw, at, "key");
    if (piece === undefined) return wrong(unknownPlaceholder(raw, at));
    at++;
    if (typeof piece === "string") {
      text += piece;
      continue;
    }
    if (raw[at - 2] === "\\" && text.endsWith("\\") && escapedAt(raw, at - 2))
      return wrong("A backslash cannot stand before a placeholder.");
    if (text !== "") pieces.push(text);
    text = "";
    pieces.push(piece);
  }
  if (text !== "") pieces.push(text);
  return { ok: true, value: pieces };
}

/** Is the backslash at `at` an escape of what follows, and not itself escaped? */
function escapedAt(raw: string, at: number): boolean {
  let before = 0;
  while (raw[at - 1 - before] === "\\") before++;
  return before % 2 === 0;
}

const plainText = (pieces: readonly Piece[]): string =>
  pieces.filter((piece): piece is string => typeof piece === "string").join("");
const holdsPlaceholder = (pieces: readonly Piece[]): boolean => pieces.some((piece) => typeof piece !== "string");

export function parseQuery(text: string): Parsed<SqlQuery> {
  const query = text.trim().replace(/;$/, "").trimEnd();
  if (!/^[\s(]*(?:SELECT|WITH|CALL|VALUES|TABLE)\b/i.test(query))
    return wrong("A query must begin with SELECT, WITH or CALL.");
  let sql = "";
  const parameters: Parameter[] = [];
  /** The last token was a literal that became a parameter, or any literal: two in a row would be joined by MySQL, but not with a parameter. */
  let previousLiteral: "none" | "plain" | "parameter" = "none";
  for (let at = 0; at < query.length; ) {
    const character = query[at] ?? "";
    const comment = commentEnd(query, at);
    if (comment !== undefined) {
      const inside = query.slice(at, comment);
      const template = parseTemplate(inside, "key");
      if (!template.ok || holdsPlaceholder(template.value))
        return wrong("A placeholder cannot stand in a comment of the query.");
      sql += plainText(template.value);
      at = comment;
      continue;
    }
    if (character === "'" || character === '"' || character === "`") {
      const end = closing(query, at);
      if (end < 0) return wrong(`The query has a ${character} that is never closed.`);
      const raw = query.slice(at + 1, end);
      at = end + 1;
      if (character === "`") {
        const template = parseTemplate(raw, "key");
        if (!template.ok || holdsPlaceholder(template.value))
          return wrong("A placeholder cannot be part of a name of a table or column.");
        sql += `\`${plainText(template.value)}\``;
        previousLiteral = "none";
        continue;
      }
      const pieces = literalPieces(raw, character);
      if (!pieces.ok) return pieces;
      const isParameter = holdsPlaceholder(pieces.value);
      if (previousLiteral === "parameter" || (isParameter && previousLiteral === "plain"))
        return wrong("Write two string literals in a row as one.");
      if (!isParameter) {
        sql += `${character}${raw.replaceAll("%%", "%")}${character}`;
        previousLiteral = "plain";
        continue;
      }
      const before = /([\w$]+)(\s*)$/.exec(sql);
      const word = before?.[1] ?? "";
      if (word.startsWith("_") || (before?.[2] === "" && /^[nxb]$/i.test(word)))
        return wrong(`A string literal with a placeholder cannot have the prefix ${word}.`);
      const isLike = /^like$/i.test(word) && !/^\s*ESCAPE\b/i.test(query.slice(at));
      sql += `${isWord(sql.at(-1)) ? " " : ""}?`;
      parameters.push({ pieces: pieces.value, as: isLike ? "like" : "text" });
      previousLiteral = "parameter";
      continue;
    }
    if (character === "%") {
      const piece = pieceAt(query, at, "key");
      if (piece === undefined) return wrong(unknownPlaceholder(query, at));
      at += 2;
      if (piece === "%") sql += "%";
      else {
        if (isWord(sql.at(-1)) || sql.endsWith("?") || sql.endsWith(".") || isWord(query[at]) || query[at] === ".")
          return wrong("A placeholder cannot be part of a name or a number; put it into a string literal.");
        sql += "?";
        parameters.push({ pieces: [piece], as: "number" });
      }
      previousLiteral = "none";
      continue;
    }
    if (character === "?") return wrong("A query cannot contain a question mark outside quotes.");
    if (character === ";") return wrong("A query must be one statement.");
    if (!/\s/.test(character)) previousLiteral = "none";
    sql += character;
    at++;
  }
  return { ok: true, value: { sql, parameters } };
}

/** The parameters for a key; undefined: this query is not asked for such a key. */
export function queryParameters(query: SqlQuery, key: string): string[] | undefined {
  const values: string[] = [];
  for (const { pieces, as } of query.parameters) {
    const quote = as === "like" ? (text: string): string => text.replaceAll(/[\\%_]/g, "\\$&") : undefined;
    const value = expandTemplate(pieces, key, "", quote);
    // A text compared with a number counts as 0 in MySQL: it would match what nobody asked for.
    if (value === undefined || (as === "number" && !/^[0-9]{1,18}$/.test(value))) return undefined;
    values.push(value);
  }
  return values;
}
