/**
 * The name of a client: the one its address leads to and that leads back to the address, as Postfix's `client_name`.
 *
 * Asked once a connection by the session's facts. Answers within four seconds, from a bounded cache for a minute; a name that does not lead back, or a resolver that
 * does not answer, is no name (undefined), never an error. RFC 1912 §2.1 (PTR and A must match), RFC 8499 (forward-confirmed).
 */
import { Resolver as SystemResolver } from "node:dns/promises";

const TIMEOUT_MS = 2000;
const KEEP_MS = 60_000;
const MAX_KEPT = 10_000;

const system = new SystemResolver({ timeout: TIMEOUT_MS, tries: 1 });
const kept = new Map<string, { readonly expiresMs: number; readonly name: Promise<string | undefined> }>();

async function confirmed(address: string): Promise<string | undefined> {
  try {
    const names = await system.reverse(address);
    for (const name of names.slice(0, 3)) {
      if (name === "localhost" && (address === "127.0.0.1" || address === "::1")) return name;
      const leadsTo: readonly string[] = await (address.includes(":")
        ? system.resolve6(name)
        : system.resolve4(name)
      ).catch(() => []);
      if (leadsTo.includes(address)) return name.toLowerCase();
    }
  } catch {
    // No name, or nobody who knows: the same for us.
  }
  return undefined;
}

export function reverseName(address: string, nowMs: number = Date.now()): Promise<string | undefined> {
  const known = kept.get(address);
  if (known !== undefined && known.expiresMs > nowMs) return known.name;
  kept.delete(address);
  const name = confirmed(address);
  kept.set(address, { expiresMs: nowMs + KEEP_MS, name });
  if (kept.size > MAX_KEPT) {
    const oldest = kept.keys().next();
    if (oldest.done !== true) kept.delete(oldest.value);
  }
  return name;
}
