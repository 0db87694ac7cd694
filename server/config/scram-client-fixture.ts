/** A SCRAM-SHA-256 client for tests, after RFC 5802 and not after our server. */
import { createHash, createHmac, pbkdf2Sync } from "node:crypto";

export interface ScramAttempt {
  readonly username: string;
  readonly password: string;
  readonly gs2Header?: string;
  readonly binding?: Buffer;
  readonly nonce?: string;
  /** Instead of the nonce both have agreed on. */
  readonly finalNonce?: string;
}

const hmac = (key: Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();
const b64 = (text: string | Buffer): string => Buffer.from(text).toString("base64");

export class ScramClient {
  readonly #attempt: ScramAttempt;
  readonly #bare: string;
  readonly #header: string;
  #signature = "";

  constructor(attempt: ScramAttempt) {
    this.#attempt = attempt;
    this.#header = attempt.gs2Header ?? "n,,";
    const name = attempt.username.replaceAll("=", "=3D").replaceAll(",", "=2C");
    this.#bare = `n=${name},r=${attempt.nonce ?? "rOprNGfwEbeRWgbNEkqO"}`;
  }

  /** All results are base64, as lines. */
  first(): string {
    return b64(this.#header + this.#bare);
  }

  final(challenge: string): string {
    const serverFirst = Buffer.from(challenge, "base64").toString();
    const [, nonce = "", salt = "", rounds = ""] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? [];
    const salted = pbkdf2Sync(this.#attempt.password, Buffer.from(salt, "base64"), Number(rounds), 32, "sha256");
    const clientKey = hmac(salted, "Client Key");
    const storedKey = createHash("sha256").update(clientKey).digest();
    const channel = Buffer.concat([Buffer.from(this.#header), this.#attempt.binding ?? Buffer.alloc(0)]);
    const withoutProof = `c=${b64(channel)},r=${this.#attempt.finalNonce ?? nonce}`;
    const authMessage = `${this.#bare},${serverFirst},${withoutProof}`;
    const signature = hmac(storedKey, authMessage);
    this.#signature = hmac(hmac(salted, "Server Key"), authMessage).toString("base64");
    return b64(`${withoutProof},p=${b64(Buffer.from(clientKey.map((octet, at) => octet ^ (signature[at] ?? 0))))}`);
  }

  /** Whether the server has proved that it knows the verifier. */
  trusts(challenge: string): boolean {
    return Buffer.from(challenge, "base64").toString() === `v=${this.#signature}`;
  }
}
