/**
 * Networks: is an address in one of these CIDR blocks? Compiled once for each list a configuration holds.
 *
 * Pure. A block that cannot be read matches nothing (the operator refuses it earlier; a typo must never trust the world).
 * Loopback is no exception: it is trusted only where a block says so.
 */
import { BlockList, isIP, isIPv4 } from "node:net";

/** The address as it is compared: IPv4-mapped IPv6 is IPv4 (a dual-stack socket reports it so). */
export const plainAddress = (address: string): string => {
  const lower = address.toLowerCase();
  return lower.startsWith("::ffff:") && isIPv4(lower.slice(7)) ? lower.slice(7) : lower;
};

/** Add `10.0.0.0/8`, `2001:db8::/32` or a single address; false when it is none of these. */
export function addBlock(blocks: BlockList, cidr: string): boolean {
  const slash = cidr.indexOf("/");
  const address = slash < 0 ? cidr : cidr.slice(0, slash);
  const version = isIP(address);
  if (version === 0) return false;
  const family = version === 4 ? "ipv4" : "ipv6";
  if (slash < 0) {
    blocks.addAddress(address, family);
    return true;
  }
  const prefix = cidr.slice(slash + 1);
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > (version === 4 ? 32 : 128)) return false;
  blocks.addSubnet(address, Number(prefix), family);
  return true;
}

export const isInBlocks = (blocks: BlockList, address: string): boolean => {
  const plain = plainAddress(address);
  const version = isIP(plain);
  return version !== 0 && blocks.check(plain, version === 4 ? "ipv4" : "ipv6");
};

const compiled = new WeakMap<readonly string[], BlockList | undefined>();

export function isInNetworks(networks: readonly string[], address: string): boolean {
  if (networks.length === 0) return false;
  let blocks = compiled.get(networks);
  if (blocks === undefined) {
    blocks = new BlockList();
    for (const network of networks) addBlock(blocks, network);
    compiled.set(networks, blocks);
  }
  return isInBlocks(blocks, address);
}

/** How many bits of their addresses the addresses of one client share. */
export interface ClientPrefix {
  readonly ipv4: number;
  readonly ipv6: number;
}

/** One customer holds at least a /64 of IPv6. */
const usualPrefix: ClientPrefix = { ipv4: 32, ipv6: 64 };

const groupsOf = (side: string): number[] =>
  side === ""
    ? []
    : side.split(":").flatMap((group) => {
        if (!group.includes(".")) return [Number.parseInt(group, 16)];
        // A dotted quad at the end fills two groups.
        const [a = 0, b = 0, c = 0, d = 0] = group.split(".").map(Number);
        return [a * 256 + b, c * 256 + d];
      });

/** The first `bits` of units of `width` bits each; the others are zero. */
const masked = (units: readonly number[], width: number, bits: number): number[] =>
  units.map((unit, place) => {
    const cut = Math.min(Math.max(width - (bits - place * width), 0), width);
    return Math.floor(unit / 2 ** cut) * 2 ** cut;
  });

/** Whom limits count together: an IPv4 address and the /64 of an IPv6 one, where the configuration does not say otherwise. */
export function clientGroup(address: string, { ipv4, ipv6 }: ClientPrefix = usualPrefix): string {
  const plain = plainAddress(address);
  if (isIP(plain) !== 6) {
    if (ipv4 >= 32 || isIP(plain) !== 4) return plain;
    return `${masked(plain.split(".").map(Number), 8, ipv4).join(".")}/${ipv4}`;
  }
  const [head = "", tail] = (plain.split("%")[0] ?? "").split("::");
  const left = groupsOf(head);
  const right = groupsOf(tail ?? "");
  const groups = [...left, ...Array<number>(Math.max(0, 8 - left.length - right.length)).fill(0), ...right];
  const shown = masked(groups, 16, ipv6).slice(0, Math.max(1, Math.ceil(ipv6 / 16)));
  return `${shown.map((group) => group.toString(16)).join(":")}${shown.length < 8 ? "::" : ""}/${ipv6}`;
}
