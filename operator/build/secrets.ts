/**
 * Secrets that the rendered configuration carries: certificates with keys, credentials and authorities, each once, by `namespace/name`.
 *
 * Stands in build/, asked by whichever concern refers to a Secret. What cannot be read is reported to the asker and left out of the slices; the reference stays
 * in the tables, because a server that finds it missing defers the mail concerned, where a table without the reference would send it another way or in the clear.
 */
import type { SecretSlice } from "../../server/config/schema.ts";
import {
  type AuthorityResult,
  type KeyPairResult,
  readAuthority,
  readKeyPair,
  type SecretText,
} from "./certificates.ts";
import type { Refusal } from "./verdict.ts";
import { secretText, type World } from "./world.ts";

type Credentials = SecretSlice["credentials"][string];

export class SecretTables {
  readonly #world: World;
  readonly #texts = new Map<string, SecretText | undefined>();
  readonly #keyPairs = new Map<string, KeyPairResult>();
  readonly #authorities = new Map<string, AuthorityResult>();
  readonly certificates = new Map<string, SecretSlice["certificates"][string]>();
  readonly credentials = new Map<string, Credentials>();
  readonly authorities = new Map<string, string>();
  readonly passwords = new Map<string, string>();
  readonly scramVerifiers = new Map<string, string>();

  constructor(world: World) {
    this.#world = world;
  }

  text(key: string): SecretText | undefined {
    if (!this.#texts.has(key)) this.#texts.set(key, secretText(this.#world, key));
    return this.#texts.get(key);
  }

  /** A certificate and its key, taken into the slice when readable. */
  useKeyPair(key: string): KeyPairResult {
    const known = this.#keyPairs.get(key);
    if (known !== undefined) return known;
    const read = readKeyPair(key, this.text(key));
    this.#keyPairs.set(key, read);
    if (read.ok) this.certificates.set(key, { certificate: read.certificate, privateKey: read.privateKey });
    else {
      const lastGood = this.#world.lastGoodCertificates?.get(key);
      if (lastGood !== undefined)
        this.certificates.set(key, { certificate: lastGood.certificate, privateKey: lastGood.privateKey });
    }
    return read;
  }

  /** `username` and `password` of a kubernetes.io/basic-auth Secret; undefined when taken. */
  useCredentials(key: string): Refusal | undefined {
    const text = this.text(key);
    if (text === undefined)
      return {
        reason: "SecretNotFound",
        message: `Secret ${key} does not exist; create it with the keys username and password.`,
      };
    const [username, password] = [text.get("username"), text.get("password")].map((value) =>
      value?.replace(/\r?\n$/, ""),
    );
    const usable = (value: string | undefined, most: number): value is string =>
      value !== undefined && value !== "" && value.length <= most && !/[\0\uFFFD]/.test(value);
    if (!usable(username, 512) || !usable(password, 1024))
      return {
        reason: "SecretInvalid",
        message: `Secret ${key} needs the keys username (at most 512 characters) and password (at most 1024), both text.`,
      };
    this.credentials.set(key, { username, password });
    return undefined;
  }

  /** A bundle of authorities; undefined when taken. */
  useAuthority(key: string): Refusal | undefined {
    const read = this.#authorities.get(key) ?? readAuthority(key, this.text(key));
    this.#authorities.set(key, read);
    if (!read.ok) return read;
    this.authorities.set(key, read.bundle);
    return undefined;
  }
}
