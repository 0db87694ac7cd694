/**
 * Decoys: the hash that a login of nobody is checked against, so that it costs what a login of somebody costs.
 *
 * Pure. Where mailboxes have hashes of several kinds, a name gets always the same one of them, and each kind as often as mailboxes have it: neither one slow answer
 * nor many tell who exists.
 */
import { createHmac } from "node:crypto";

/** How many hashes are looked at; enough to know what kinds there are. */
const SAMPLE = 256;
const samples = new WeakMap<ReadonlyMap<string, string>, readonly string[]>();

export function decoyFor(passwords: ReadonlyMap<string, string>, name: string, key: string): string | undefined {
  let sample = samples.get(passwords);
  // A table of a configuration never changes; what a source has seen grows.
  if (sample === undefined || sample.length !== Math.min(passwords.size, SAMPLE)) {
    sample = [...passwords.values().take(SAMPLE)];
    samples.set(passwords, sample);
  }
  if (sample.length === 0) return undefined;
  return sample[createHmac("sha256", key).update(`decoy\0${name}`).digest().readUInt32BE() % sample.length];
}
