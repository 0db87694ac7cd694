/**
 * Password worker: the hashes that would hold up the event loop (bcrypt, SHA-crypt), computed on a thread of their own.
 *
 * Started by verifier.ts. One question, one answer, in order; a question that fails is answered with `error` and the thread goes on.
 */
import { timingSafeEqual } from "node:crypto";
import { parentPort } from "node:worker_threads";
import { compareSync } from "bcryptjs";
import type { PasswordHash } from "./password-hash.ts";
import { shaCrypt } from "./sha-crypt.ts";

export type WorkerHash = Extract<PasswordHash, { kind: "bcrypt" | "sha-crypt" }>;
export interface WorkerQuestion {
  readonly number: number;
  readonly hash: WorkerHash;
  readonly password: string;
}
export type WorkerAnswer = { readonly number: number } & ({ readonly matches: boolean } | { readonly error: string });

function matches({ hash, password }: WorkerQuestion): boolean {
  if (hash.kind === "bcrypt") return compareSync(password, hash.text);
  const computed = Buffer.from(shaCrypt(hash.digest, Buffer.from(password), hash.salt, hash.rounds));
  const expected = Buffer.from(hash.hash);
  return computed.length === expected.length && timingSafeEqual(computed, expected);
}

parentPort?.on("message", (question: WorkerQuestion) => {
  let answer: WorkerAnswer;
  try {
    answer = { number: question.number, matches: matches(question) };
  } catch (error) {
    answer = { number: question.number, error: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(answer);
});
