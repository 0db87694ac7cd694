/**
 * Dovecot's auth client protocol, versions 1.1 and 1.2: lines to values and back.
 *
 * Pure. Fields are separated by tabs; a line that is none of those known is undefined and ignored, as the protocol asks. Lines are bounded by whoever cuts them.
 * Dovecot's "Auth client protocol" (handshake: VERSION, MECH, SPID, CUID, COOKIE, DONE; then OK, CONT, FAIL).
 */
export type DovecotLine =
  | { readonly kind: "version"; readonly major: number }
  | { readonly kind: "mechanism"; readonly name: string }
  | { readonly kind: "done" }
  | { readonly kind: "ok"; readonly id: number; readonly user: string | undefined }
  | { readonly kind: "continue"; readonly id: number; readonly data: string }
  | { readonly kind: "fail"; readonly id: number; readonly isTemporary: boolean };

/** Longer lines than its own server takes, none comes from it. */
export const MAX_LINE = 16_384;
/** What its server takes in one line, less the fields before the response. */
export const MAX_RESPONSE = 7_500;

const unescapes: Readonly<Record<string, string>> = { "0": "\0", "1": "\u0001", t: "\t", r: "\r", n: "\n" };
const escapes: Readonly<Record<string, string>> = { "\0": "0", "\u0001": "1", "\t": "t", "\r": "r", "\n": "n" };

const unescape = (field: string): string =>
  // oxlint-disable-next-line no-control-regex
  field.replaceAll(/\u0001([01trn])/g, (_, letter: string) => unescapes[letter] ?? "");
const escape = (field: string): string =>
  // oxlint-disable-next-line no-control-regex
  field.replaceAll(/[\0\u0001\t\r\n]/g, (character) => `\u0001${escapes[character]}`);

const number = /^\d{1,10}$/;

export function parseLine(line: string): DovecotLine | undefined {
  const [word = "", first = "", ...fields] = line.split("\t");
  const parameter = (name: string): string | undefined => {
    const found = fields.find((field) => field.startsWith(`${name}=`));
    return found === undefined ? undefined : unescape(found.slice(name.length + 1));
  };
  switch (word) {
    case "VERSION":
      return number.test(first) ? { kind: "version", major: Number(first) } : undefined;
    case "MECH":
      return /^[A-Za-z0-9_-]{1,20}$/.test(first) ? { kind: "mechanism", name: first.toUpperCase() } : undefined;
    case "DONE":
      return { kind: "done" };
    case "OK":
      return number.test(first) ? { kind: "ok", id: Number(first), user: parameter("user") } : undefined;
    case "CONT":
      // Base64, or nothing.
      return number.test(first) && /^[A-Za-z0-9+/=]*$/.test(fields[0] ?? "")
        ? { kind: "continue", id: Number(first), data: fields[0] ?? "" }
        : undefined;
    case "FAIL":
      return number.test(first)
        ? {
            kind: "fail",
            id: Number(first),
            isTemporary: fields.includes("temp") || parameter("code") === "temp_fail",
          }
        : undefined;
    default:
      return undefined;
  }
}

/** Of no other connection to this Dovecot: it refuses a process number that it knows already, and ours are those of pods. */
export const handshake = (processNumber: number): string => `VERSION\t1\t2\nCPID\t${processNumber}\n`;

export interface Request {
  readonly id: number;
  readonly mechanism: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string | undefined;
  /** Base64; undefined: the client gave none. */
  readonly response: string | undefined;
}

/** `resp` must be the last field. `nologin`: no other Dovecot process will ask about this login. */
export function authLine({ id, mechanism, remoteAddress, remotePort, localAddress, response }: Request): string {
  const fields = [
    "AUTH",
    `${id}`,
    mechanism,
    "service=smtp",
    "nologin",
    ...(localAddress === undefined ? [] : [`lip=${localAddress}`]),
    `rip=${remoteAddress}`,
    `rport=${remotePort}`,
    "secured",
    ...(response === undefined ? [] : [`resp=${response}`]),
  ];
  return `${fields.map(escape).join("\t")}\n`;
}

export const continueLine = (id: number, response: string): string => `CONT\t${id}\t${response}\n`;
export const cancelLine = (id: number): string => `CANCEL\t${id}\n`;
