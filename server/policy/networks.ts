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

/** Whom connection limits count together: an IPv4 address, or the /64 of an IPv6 one (one customer holds at least that much). */
export function clientGroup(address: string): string {
  const plain = plainAddress(address);
  if (isIP(plain) !== 6) return plain;
  const [head = "", tail] = (plain.split("%")[0] ?? "").split("::");
  const left = head === "" ? [] : head.split(":");
  // Inside the first four groups "::" stands for zeros; the right side counts from the end.
  if (tail !== undefined) {
    const right = tail === "" ? [] : tail.split(":");
    // A dotted quad at the end fills two groups.
    const rightGroups = right.length + (right.at(-1)?.includes(".") === true ? 1 : 0);
    while (left.length + rightGroups < 8) left.push("0");
    left.push(...right);
  }
  return `${left
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")}::/64`;
}
