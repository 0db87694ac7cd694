/**
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side: two messages each way, and the password never travels.
 *
 * Pure but for the server's nonce. A name without a verifier goes through the same messages and the same work, and ends as a wrong password does. Everything a
 * client sends is bounded and taken apart by position, without backtracking. RFC 5802 §5 to §7, RFC 7677, RFC 9266 (tls-exporter).
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { ScramVerifier } from "./password-hash.ts";
import { cancelledOr, isUsername, type SaslStep } from "./sasl.ts";

export interface ScramOptions {
  /** Whether this is the -PLUS variant. */
  readonly plus: boolean;
  /** tls-exporter octets of this connection; undefined: -PLUS is not offered here. */
  readonly channelBinding: (() => Buffer | undefined) | undefined;
  /** The user of a name, and its verifier or a decoy. */
  readonly lookUp: (username: string) => { readonly user: string | undefined; readonly verifier: ScramVerifier };
  /** @default 18 random octets in base64 */
  readonly nonce?: () => string;
}

/** No field of an honest client comes near it. */
const MAX_MESSAGE = 2048;
const MAX_NONCE = 512;
const nonceText = /^[\x21-\x2b\x2d-\x7e]+$/;
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export interface ClientFirst {
  /** With both commas: what `c=` repeats. */
  readonly gs2Header: string;
  readonly binding: "none" | "unused" | { readonly name: string };
  readonly authorize: string | undefined;
  readonly username: string;
  readonly nonce: string;
  readonly bare: string;
}

/** RFC 5802 §5.1: `=2C` is a comma and `=3D` an equals sign; any other `=` is wrong. */
function saslName(text: string): string | undefined {
  if (/=(?!2C|3D)/.test(text) || text.includes("\0")) return undefined;
  return text.replaceAll("=2C", ",").replaceAll("=3D", "=");
}

export function parseClientFirst(message: string): ClientFirst | undefined {
  if (message.length > MAX_MESSAGE) return undefined;
  const [flag = "", authorize = "", name = "", nonce = "", ...extensions] = message.split(",");
  const binding = flag === "n" ? "none" : flag === "y" ? "unused" : /^p=([A-Za-z0-9.-]{1,64})$/.exec(flag)?.[1];
  if (binding === undefined) return undefined;
  if (authorize !== "" && !authorize.startsWith("a=")) return undefined;
  // A mandatory extension (m=) would stand where the name must.
  if (!name.startsWith("n=") || !nonce.startsWith("r=")) return undefined;
  const username = saslName(name.slice(2));
  const authorizeAs = authorize === "" ? undefined : saslName(authorize.slice(2));
  if (username === undefined || (authorize !== "" && authorizeAs === undefined)) return undefined;
  const value = nonce.slice(2);
  if (value.length > MAX_NONCE || !nonceText.test(value)) return undefined;
  return {
    gs2Header: `${flag},${authorize},`,
    binding: flag === "n" || flag === "y" ? (binding as "none" | "unused") : { name: binding },
    authorize: authorizeAs,
    username,
    nonce: value,
    bare: [name, nonce, ...extensions].join(","),
  };
}

export interface ClientFinal {
  readonly channel: Buffer;
  readonly nonce: string;
  readonly proof: Buffer;
  readonly withoutProof: string;
}

export function parseClientFinal(message: string): ClientFinal | undefined {
  if (message.length > MAX_MESSAGE) return undefined;
  const parts = message.split(",");
  const channel = parts[0] ?? "";
  const nonce = parts[1] ?? "";
  const proof = parts.at(-1) ?? "";
  if (parts.length < 3 || !channel.startsWith("c=") || !nonce.startsWith("r=") || !proof.startsWith("p="))
    return undefined;
  if (!base64.test(channel.slice(2)) || !base64.test(proof.slice(2))) return undefined;
  return {
    channel: Buffer.from(channel.slice(2), "base64"),
    nonce: nonce.slice(2),
    proof: Buffer.from(proof.slice(2), "base64"),
    withoutProof: parts.slice(0, -1).join(","),
  };
}

const hmac = (key: Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();

/** RFC 5802 §3: ClientKey is ClientProof XOR ClientSignature; its hash must be StoredKey. */
function proves(proof: Buffer, { storedKey }: ScramVerifier, authMessage: string): boolean {
  const signature = hmac(storedKey, authMessage);
  const clientKey = Buffer.from(signature.map((octet, place) => octet ^ (proof[place] ?? 0)));
  const hash = createHash("sha256").update(clientKey).digest();
  return timingSafeEqual(hash, storedKey) && proof.length === signature.length;
}

const challenge = (text: string, next: (line: string) => SaslStep): SaslStep => ({
  kind: "challenge",
  data: Buffer.from(text).toString("base64"),
  next,
});

export function scram(options: ScramOptions): (line: string) => SaslStep {
  const { plus, channelBinding, lookUp } = options;
  return cancelledOr((text) => {
    const first = parseClientFirst(text);
    if (first === undefined || !isUsername(first.username)) return { kind: "syntax" };
    const { binding, username, gs2Header } = first;
    const isBound = typeof binding === "object";
    if (isBound !== plus) return { kind: "syntax" };
    // RFC 5802 §6: it says we offer no binding, but we do: somebody between us took -PLUS out of the list.
    if (binding === "unused" && channelBinding !== undefined) return { kind: "refused", username };
    if (isBound && binding.name !== "tls-exporter") return { kind: "refused", username };
    const bound = isBound ? channelBinding?.() : Buffer.alloc(0);
    if (bound === undefined) return { kind: "refused", username };
    const { user, verifier } = lookUp(username);
    const nonce = first.nonce + (options.nonce?.() ?? randomBytes(18).toString("base64"));
    const serverFirst = `r=${nonce},s=${verifier.salt.toString("base64")},i=${verifier.rounds}`;
    return challenge(
      serverFirst,
      cancelledOr((answer) => {
        const final = parseClientFinal(answer);
        if (final === undefined) return { kind: "syntax" };
        const expected = Buffer.concat([Buffer.from(gs2Header), bound]);
        const authMessage = `${first.bare},${serverFirst},${final.withoutProof}`;
        const isRight = proves(final.proof, verifier, authMessage);
        const isOurs = final.nonce === nonce && final.channel.equals(expected);
        // Nobody may act as somebody else.
        const asItself = first.authorize === undefined || first.authorize.toLowerCase() === username.toLowerCase();
        if (!isRight || !isOurs || !asItself || user === undefined) return { kind: "refused", username };
        const signature = hmac(verifier.serverKey, authMessage).toString("base64");
        return challenge(
          `v=${signature}`,
          cancelledOr((rest) => (rest === "" ? { kind: "authenticated", user } : { kind: "syntax" })),
        );
      }),
    );
  });
}
