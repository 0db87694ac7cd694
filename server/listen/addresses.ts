/**
 * Addresses to bind: what a listener asks for, within what the server was started with.
 *
 * Pure. A configuration never opens more than the command line did: `--listen 127.0.0.1` stays on loopback whatever a listener names. `::` and `0.0.0.0` of a listener
 * stand for all addresses of their family, and of no other.
 */
import { isIPv4, isIPv6 } from "node:net";

export interface Binding {
  readonly address: string;
  /** `::` without the IPv4 addresses that it would take as well. */
  readonly ipv6Only: boolean;
}

const ANY6 = "::";
const ANY4 = "0.0.0.0";

/** `::` of the command line means both families. */
const covers = (allowed: string, address: string): boolean =>
  allowed === address || (allowed === ANY6 && address !== "") || (allowed === ANY4 && isIPv4(address));

export function bindingsOf(
  wanted: readonly string[] | undefined,
  allowed: readonly string[],
): { readonly bindings: readonly Binding[]; readonly refused: readonly string[] } {
  if (wanted === undefined) return { bindings: allowed.map((address) => ({ address, ipv6Only: false })), refused: [] };
  const found = new Set<string>();
  const refused: string[] = [];
  for (const address of wanted) {
    const isWildcard = address === ANY6 || address === ANY4;
    const within = isWildcard ? allowed.filter(address === ANY6 ? isIPv6 : isIPv4) : [];
    if (allowed.some((each) => covers(each, address))) found.add(address);
    else if (within.length === 0) refused.push(address);
    for (const each of within) if (each !== ANY6) found.add(each);
  }
  // A wildcard takes the port of every address of its family.
  const any6 = found.has(ANY6);
  const any4 = found.has(ANY4);
  const bindings = [...found]
    .filter((address) => address === ANY6 || address === ANY4 || !(isIPv4(address) ? any4 : any6))
    .map((address) => ({ address, ipv6Only: address === ANY6 }));
  return { bindings, refused };
}
