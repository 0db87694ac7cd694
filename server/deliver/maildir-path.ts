/**
 * Where a mailbox's maildir lies: `<data>/<base>/<domain>/<local part>`.
 *
 * Used by `maildir.ts`; pure. A local part is a stranger's bytes: whatever could mean something to a file system is percent-encoded, so that one
 * mailbox is one folder below the base, whatever its name. Different mailboxes never share a folder. Fails as undefined: a base outside the data folder.
 */
import { createHash } from "node:crypto";
import { join, resolve, sep } from "node:path";

/** A name component may have 255 octets; above this the rest is replaced by a digest. */
const longestName = 200;

/** `[A-Za-z0-9_=+-]` and dots that do not lead stay; everything else becomes `%XX` of its UTF-8 bytes. */
export function pathComponent(text: string): string {
  const encoded = [...Buffer.from(text, "utf8")]
    .map((byte, at) => {
      const character = String.fromCharCode(byte);
      const stays = /[A-Za-z0-9_=+-]/.test(character) || (character === "." && at > 0);
      return stays ? character : `%${byte.toString(16).padStart(2, "0").toUpperCase()}`;
    })
    .join("");
  if (encoded.length <= longestName) return encoded;
  return `${encoded.slice(0, longestName - 64)}%${createHash("sha256").update(text).digest("hex")}`;
}

export function maildirPath(dataDir: string, base: string, mailbox: string): string | undefined {
  const at = mailbox.lastIndexOf("@");
  if (at < 1 || at === mailbox.length - 1) return undefined;
  const root = resolve(dataDir, base);
  const within = root === resolve(dataDir) || root.startsWith(resolve(dataDir) + sep);
  return within ? join(root, pathComponent(mailbox.slice(at + 1)), pathComponent(mailbox.slice(0, at))) : undefined;
}
