/**
 * The name of a client: what its address leads to, and whether that leads back to it.
 *
 * Asked once a connection by the session's facts. Postfix's client_name and reverse_client_name with their states: a name counts only when it is confirmed;
 * a resolver that does not answer is `temporary`, never "has none". The resolver bounds each question and remembers answers; at most three of the address's names are followed,
 * because a stranger's zone may hold hundreds. RFC 1912 §2.1 (PTR and A must match), RFC 8499 (forward-confirmed).
 */
import ipaddr from "ipaddr.js";
import type { Dns } from "./resolver.ts";

export type ClientName =
  /** Forward-confirmed. */
  | { readonly kind: "named"; readonly name: string }
  /** The name has no address, or others. */
  | { readonly kind: "unconfirmed"; readonly name: string }
  | { readonly kind: "none" }
  /** Nobody could say; with a name where only the way back is unknown. */
  | { readonly kind: "temporary"; readonly name?: string };

/** RFC 5321 §2.3.5, with the underscore that real PTR records hold; it goes into logs and the Received field. */
const hostname = /^[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*$/;
const MAX_FOLLOWED = 3;

/** Lower case, without the trailing dot; undefined for what no host may be called. */
export function plainName(written: string): string | undefined {
  const name = written.toLowerCase().replace(/\.$/, "");
  return name.length <= 253 && hostname.test(name) ? name : undefined;
}

const sameAddress = (one: string, other: string): boolean =>
  one === other ||
  (ipaddr.isValid(one) && ipaddr.isValid(other) && ipaddr.process(one).toString() === ipaddr.process(other).toString());

export async function nameOfClient(dns: Pick<Dns, "pointer" | "addresses">, address: string): Promise<ClientName> {
  const pointers = await dns.pointer(address);
  if (pointers.kind === "temporary") return { kind: "temporary" };
  if (pointers.kind !== "found") return { kind: "none" };
  const names = pointers.answers.map(plainName).filter((name) => name !== undefined);
  let unknown: string | undefined;
  for (const name of names.slice(0, MAX_FOLLOWED)) {
    const back = await dns.addresses(name);
    if (back.kind === "found" && back.answers.some((each) => sameAddress(each, address)))
      return { kind: "named", name };
    if (back.kind === "temporary") unknown ??= name;
  }
  if (unknown !== undefined) return { kind: "temporary", name: unknown };
  // A record that names nothing usable is a name all the same, but none to show.
  return { kind: "unconfirmed", name: names[0] ?? "" };
}
