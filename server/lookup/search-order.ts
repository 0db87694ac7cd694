/**
 * Search order: under which keys an address, a host name or a network stands in a table, the most special first.
 *
 * access(5), transport(5) and virtual(5) of Postfix. Pure. Those who ask take the first key that has an answer; tables of patterns and networks are asked
 * for the first key only (`wholeKeyOnly`).
 */
import { isIP } from "node:net";

function split(address: string): { readonly local: string; readonly domain: string } {
  const at = address.lastIndexOf("@");
  return at < 0 ? { local: address, domain: "" } : { local: address.slice(0, at), domain: address.slice(at + 1) };
}

/** The local part without its extension; undefined where it has none. The delimiter is never its first character. */
function withoutExtension(local: string, delimiters: string): string | undefined {
  for (let at = 1; at < local.length; at++) if (delimiters.includes(local[at] ?? "")) return local.slice(0, at);
  return undefined;
}

const distinct = (keys: readonly (string | undefined)[]): string[] => [
  ...new Set(keys.filter((key): key is string => key !== undefined && key !== "")),
];

/** Labels of a stranger's name; 127 is the most a domain has (RFC 1035 §2.3.4). */
const MAX_LABELS = 127;

/** `mail.example.org`, `example.org`, `org`; literals stand for themselves. */
export function domainKeys(domain: string): string[] {
  const name = domain.toLowerCase().replace(/\.$/, "");
  if (name.startsWith("[")) return [name];
  const labels = name.split(".").slice(-MAX_LABELS);
  return distinct(labels.map((_, index) => labels.slice(index).join(".")));
}

/** access(5), e-mail addresses: user+ext@domain, user@domain, domain, its parents, user+ext@, user@; `<>` for the null sender. */
export function accessAddressKeys(address: string, delimiters: string): string[] {
  if (address === "") return ["<>"];
  const { local, domain } = split(address.toLowerCase());
  const bare = withoutExtension(local, delimiters);
  return distinct([
    domain === "" ? local : `${local}@${domain}`,
    bare === undefined || domain === "" ? undefined : `${bare}@${domain}`,
    ...(domain === "" ? [] : domainKeys(domain)),
    `${local}@`,
    bare === undefined ? undefined : `${bare}@`,
  ]);
}

/** access(5), host names and addresses: the whole, then parent domains or the octets of its networks. */
export function accessHostKeys(hostOrAddress: string): string[] {
  const text = hostOrAddress.toLowerCase();
  if (isIP(text) === 4) {
    const octets = text.split(".");
    return [4, 3, 2, 1].map((count) => octets.slice(0, count).join("."));
  }
  if (isIP(text) === 6) {
    // As Postfix: groups are cut off the text as it is written, down to the first.
    const groups = text.split(":");
    return distinct(
      groups.map((_, index) =>
        groups
          .slice(0, groups.length - index)
          .join(":")
          .replace(/:+$/, ""),
      ),
    );
  }
  return domainKeys(text);
}

/** virtual(5): user+ext@domain, user@domain, @domain. */
export function aliasKeys(address: string, delimiters: string): string[] {
  const { local, domain } = split(address.toLowerCase());
  const bare = withoutExtension(local, delimiters);
  return distinct([`${local}@${domain}`, bare === undefined ? undefined : `${bare}@${domain}`, `@${domain}`]);
}

/** A mailbox: user+ext@domain, user@domain; no catch-all, which is an alias. */
export const mailboxKeys = (address: string, delimiters: string): string[] =>
  aliasKeys(address, delimiters).filter((key) => !key.startsWith("@"));

/** transport(5): user+ext@domain, user@domain, domain, .parent, …, `*`. */
export function transportKeys(address: string, delimiters: string): string[] {
  const { local, domain } = split(address.toLowerCase());
  const [own = domain, ...parents] = domainKeys(domain);
  return distinct([
    ...(local === "" ? [] : mailboxKeys(`${local}@${domain}`, delimiters)),
    own,
    ...parents.map((parent) => `.${parent}`),
    "*",
  ]);
}

/** smtp_tls_policy_maps: the destination itself, and `.parent` of a domain; a next hop as it is written. */
export function tlsPolicyKeys(destination: string): string[] {
  const [own = destination, ...parents] = domainKeys(destination);
  return distinct([own, ...parents.map((parent) => `.${parent}`)]);
}
