/**
 * Verifier: does this password belong to this stored hash? Never on the event loop.
 *
 * argon2id, PBKDF2 and salted SHA go to Node's own crypto (the costly two on its thread pool), bcrypt and SHA-crypt to one worker thread that is started when first needed and
 * does not keep the process alive. At most RUNNING verifications run, WAITING wait; beyond that, and when the worker dies, the answer is
 * "unavailable" (454), never a refusal. The hash of an unknown user is replaced by a decoy (decoy.ts) so that the answer takes as long.
 */
import { argon2, createHash, pbkdf2, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { saslPrep, scramKeys } from "../config/saslprep.ts";
import type { Log } from "../observe/log.ts";
import { type PasswordHash, parsePasswordHash } from "./password-hash.ts";
import type { WorkerAnswer, WorkerHash, WorkerQuestion } from "./password-worker.ts";

export type Verification = "match" | "mismatch" | "unusable-hash" | "unavailable";

/** Two at once: each may hold 256 MiB, and the thread pool also serves the file system. */
const RUNNING = 2;
const WAITING = 64;
/** RFC 5802 has no bound; bcrypt reads 72 bytes. Longer ones are nobody's password and somebody's attack. */
const MAX_PASSWORD_BYTES = 1024;

const argon2Async = promisify(argon2);
const pbkdf2Async = promisify(pbkdf2);

/** Where the configuration has no password at all to imitate. */
const FALLBACK_DECOY = `$argon2id$v=19$m=65536,t=3,p=1$${Buffer.alloc(16).toString("base64").slice(0, 22)}$${Buffer.alloc(32).toString("base64").slice(0, 43)}`;

export class PasswordVerifier {
  readonly #log: Log;
  #worker: Worker | undefined;
  readonly #asked = new Map<number, (answer: boolean | undefined) => void>();
  #number = 0;
  #running = 0;
  #computed = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  /** Hashes computed so far: the work that an answer cost, whatever the answer was. */
  get computed(): number {
    return this.#computed;
  }

  /**
   * `stored` undefined: no such user, or one who may not log in; the work is done all the same, on `decoy` or a fixed hash, and the answer is
   * mismatch.
   */
  async verify(stored: string | undefined, password: string, decoy: string | undefined): Promise<Verification> {
    if (this.#running >= RUNNING) {
      if (this.#waiting.length >= WAITING) return "unavailable";
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running += 1;
    try {
      const hash = parsePasswordHash(stored ?? decoy ?? FALLBACK_DECOY);
      if (hash === undefined) return stored === undefined ? "mismatch" : "unusable-hash";
      // Too long is as wrong as any other, and as slow.
      const tooLong = Buffer.byteLength(password) > MAX_PASSWORD_BYTES;
      this.#computed += 1;
      const matches = await this.#compute(hash, tooLong ? "" : password);
      if (matches === undefined) return "unavailable";
      return matches && stored !== undefined && !tooLong ? "match" : "mismatch";
    } catch (error) {
      this.#log.error(
        { error: error instanceof Error ? error.message : String(error) },
        "password-verification-failed",
      );
      return "unavailable";
    } finally {
      // A place is handed to who waits longest, or given back.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    this.#giveUp();
    await worker?.terminate();
  }

  async #compute(hash: PasswordHash, password: string): Promise<boolean | undefined> {
    switch (hash.kind) {
      case "argon2id": {
        const options = {
          message: password,
          nonce: hash.salt,
          parallelism: hash.lanes,
          tagLength: hash.hash.length,
          memory: hash.memoryKiB,
          passes: hash.passes,
        };
        return timingSafeEqual(await argon2Async("argon2id", options), hash.hash);
      }
      case "salted-sha":
        return timingSafeEqual(createHash(hash.digest).update(password).update(hash.salt).digest(), hash.hash);
      case "pbkdf2": {
        const { digest, rounds, salt } = hash;
        return timingSafeEqual(await pbkdf2Async(password, salt, rounds, hash.hash.length, digest), hash.hash);
      }
      case "scram-sha-256": {
        const salted = await pbkdf2Async(saslPrep(password), hash.salt, hash.rounds, 32, "sha256");
        return timingSafeEqual(scramKeys(salted).storedKey, hash.storedKey);
      }
      case "bcrypt":
      case "sha-crypt":
        return this.#ask(hash, password);
      default:
        return hash satisfies never;
    }
  }

  #ask(hash: WorkerHash, password: string): Promise<boolean | undefined> {
    const worker = (this.#worker ??= this.#start());
    this.#number += 1;
    const question: WorkerQuestion = { number: this.#number, hash, password };
    return new Promise((resolve) => {
      this.#asked.set(question.number, resolve);
      worker.postMessage(question);
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL("./password-worker.ts", import.meta.url));
    worker.unref();
    worker.on("message", (answer: WorkerAnswer) => {
      const resolve = this.#asked.get(answer.number);
      this.#asked.delete(answer.number);
      if ("error" in answer) this.#log.error({ error: answer.error }, "password-verification-failed");
      resolve?.("matches" in answer ? answer.matches : undefined);
    });
    const gone = (error?: unknown): void => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#log.error({ error: error instanceof Error ? error.message : String(error) }, "password-worker-died");
      this.#giveUp();
    };
    worker.on("error", gone);
    worker.on("exit", gone);
    return worker;
  }

  #giveUp(): void {
    const open = [...this.#asked.values()];
    this.#asked.clear();
    for (const resolve of open) resolve(undefined);
  }
}
