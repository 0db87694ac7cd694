/**
 * SASL exchanges: from base64 lines to a user, or to a user name and a password. PLAIN and LOGIN are here, SCRAM is in scram.ts.
 *
 * Pure: a mechanism is a function from the client's line to the next step. Nothing here knows passwords or logs anything.
 * RFC 4954 §4 (exchange, `*` cancels, `=` is an empty response), RFC 4616 (PLAIN); LOGIN as every client does it.
 */
export type SaslStep =
  | {
      readonly kind: "ask";
      readonly prompt: "empty" | "username" | "password";
      readonly next: (line: string) => SaslStep;
    }
  /** `data` is base64. */
  | {
      readonly kind: "challenge";
      readonly data: string;
      readonly next: (line: string) => SaslStep | Promise<SaslStep>;
    }
  | { readonly kind: "credentials"; readonly username: string; readonly password: string }
  /** The mechanism itself has proved it. */
  | { readonly kind: "authenticated"; readonly user: string }
  /** As wrong as a wrong password. */
  | { readonly kind: "refused"; readonly username: string }
  | { readonly kind: "unavailable"; readonly why: string }
  | { readonly kind: "syntax" }
  | { readonly kind: "cancelled" }
  | { readonly kind: "unknown-mechanism" };

const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** Whatever a user name is, it is printable: it goes into logs. */
// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f-\u009f]/;
const MAX_USERNAME = 512;

/** What a mechanism makes of the initial response, or of its absence. */
export type Mechanism = (initial: string | undefined) => SaslStep | Promise<SaslStep>;

function decode(line: string): string | undefined {
  if (line === "=") return "";
  return base64.test(line) ? Buffer.from(line, "base64").toString("utf8") : undefined;
}

export const cancelledOr =
  (use: (text: string) => SaslStep) =>
  (line: string): SaslStep => {
    if (line === "*") return { kind: "cancelled" };
    const text = decode(line);
    return text === undefined ? { kind: "syntax" } : use(text);
  };

export const isUsername = (text: string): boolean => text !== "" && text.length <= MAX_USERNAME && !control.test(text);

/** RFC 4616 §2: authzid NUL authcid NUL passwd; nobody may act as somebody else. */
const plain = cancelledOr((text) => {
  const [authorize, username, password, ...more] = text.split("\u0000");
  if (authorize === undefined || username === undefined || password === undefined || more.length > 0)
    return { kind: "syntax" };
  if (!isUsername(username)) return { kind: "syntax" };
  // A foreign authorization identity is a wrong credential, and not more than that.
  const asItself = authorize === "" || authorize.toLowerCase() === username.toLowerCase();
  return { kind: "credentials", username: asItself ? username : "", password };
});

const login = cancelledOr((username) =>
  isUsername(username)
    ? {
        kind: "ask",
        prompt: "password",
        next: cancelledOr((password) => ({ kind: "credentials", username, password })),
      }
    : { kind: "syntax" },
);

/** A mechanism in which the client speaks first. */
export const clientFirst =
  (begin: (line: string) => SaslStep): Mechanism =>
  (initial) =>
    initial === undefined ? { kind: "ask", prompt: "empty", next: begin } : begin(initial);

export const plainMechanism: Mechanism = clientFirst(plain);
export const loginMechanism: Mechanism = (initial) =>
  initial === undefined ? { kind: "ask", prompt: "username", next: login } : login(initial);

/** The argument of AUTH: mechanism and, perhaps, an initial response. */
export function beginSasl(argument: string, offered: ReadonlyMap<string, Mechanism>): SaslStep | Promise<SaslStep> {
  const [name = "", initial, ...more] = argument.split(" ");
  if (more.length > 0) return { kind: "syntax" };
  return offered.get(name.toUpperCase())?.(initial) ?? { kind: "unknown-mechanism" };
}
