/** Who can try out submission: the first mailbox that may authenticate, with the Secret that holds its password. Pure. */
import type { RenderedConfig } from "../../server/config/schema.ts";
import { tableAddress } from "../build/keys.ts";
import { readPassword } from "../build/passwords.ts";
import { secretKey } from "../build/references.ts";
import { secretText, type World } from "../build/world.ts";

export function submitterOf(
  world: World,
  config: RenderedConfig,
): { readonly address: string; readonly secretName: string } | undefined {
  const candidates = world.mailboxes.flatMap((mailbox) => {
    const reference = mailbox.spec.passwordSecretRef;
    const address = tableAddress(mailbox.spec.address);
    if (
      reference === undefined ||
      address === undefined ||
      config.tables.addresses[address]?.mailbox?.authentication !== true
    )
      return [];
    const name = secretKey(mailbox, reference.name);
    const read = readPassword(name, secretText(world, name), reference.key);
    // Only a plaintext is a password that the person at the terminal can look up.
    return read.ok && read.source.kind === "plaintext" ? [{ address, secretName: name }] : [];
  });
  return candidates.sort((a, b) => (a.address < b.address ? -1 : 1))[0];
}
