/**
 * Hash the plaintext passwords of a world before it is built, on the thread pool.
 *
 * Stands before build, called by the shells (reconcile, embedded). The build would make the same hashes by itself, one after the other on the event loop: fine
 * for a few, minutes of silence (and a lost lease) for ten thousand. Returns how many were made.
 */
import { tableAddress } from "./keys.ts";
import { saltKeyOf } from "./authentication.ts";
import { readPassword, rememberPlaintexts, rememberScram } from "./passwords.ts";
import { secretKey } from "./references.ts";
import { secretText, type World } from "./world.ts";

export async function warmPasswords(world: World): Promise<number> {
  const plaintexts = world.mailboxes.flatMap((mailbox) => {
    const { address, authentication, passwordSecretRef } = mailbox.spec;
    const key = tableAddress(address);
    if (authentication === "Disabled" || passwordSecretRef === undefined || key === undefined) return [];
    const name = secretKey(mailbox, passwordSecretRef.name);
    const read = readPassword(name, secretText(world, name), passwordSecretRef.key);
    return read.ok && read.source.kind === "plaintext" ? [{ address: key, plaintext: read.source.plaintext }] : [];
  });
  const made = await rememberPlaintexts(plaintexts);
  if (world.server.spec.authentication.mechanisms.includes("SCRAM-SHA-256"))
    await rememberScram(plaintexts, saltKeyOf(world.server));
  return made;
}
