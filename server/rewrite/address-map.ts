/**
 * Address map: one look-up of an address, as canonical(5) and generic(5) do it.
 *
 * Beneath rewrite/rewriting.ts. Order: the whole address, the address without its extension, in the server's own domain the local part with and without extension,
 * `@domain`; at each step entries before tables, and patterns at the first step only, so that no pattern sees a part of an address. Keys are compared
 * as everywhere (config/address.ts): U-labels and A-labels are the same domain. Synchronous: maps are part of the configuration. A result
 * that is no address, and a table that is not there, are trouble, which makes mail wait.
 */
import { domainToUnicode } from "node:url";
import { domainKey, localPartKey, splitAddress } from "../config/address.ts";
import type { AddressMap as Settings } from "../config/rewriting.ts";
import type { Table } from "../lookup/table.ts";
import { extensionAt } from "../route/lookup.ts";

export type Found =
  | { readonly kind: "none" }
  | { readonly kind: "address"; readonly address: string }
  | { readonly kind: "trouble"; readonly reason: string };

export interface MapSurroundings {
  /** By name; absent: it cannot be used. */
  readonly tables: ReadonlyMap<string, Table>;
  readonly delimiters: string;
  /** Lower-case A-labels: where a local part alone is a key. */
  readonly ownDomains: ReadonlySet<string>;
  /** What a result without a domain gets. */
  readonly origin: string;
}

const nonAscii = /\P{ASCII}/u;
/** RFC 5321 §4.1.2, RFC 6531 §3.3: dot-string or quoted string; what neither is must not reach a header. */
export const isLocalPart = (text: string): boolean => localPart.test(text);
// oxlint-disable-next-line no-control-regex
const localPart = /^(?:[^\u0000-\u0020\u007f"(),:;<>@[\]\\]+|"(?:[^\u0000-\u001f\u007f"\\]|\\[ -~])*")$/;
const LONGEST = 512;

export class AddressMap {
  readonly #settings: Settings;
  readonly #entries: ReadonlyMap<string, string>;
  readonly #around: MapSurroundings;

  constructor(settings: Settings, around: MapSurroundings) {
    this.#settings = settings;
    this.#entries = new Map(Object.entries(settings.entries));
    this.#around = around;
  }

  find(address: string): Found {
    const missing = this.#settings.tables.find((name) => !this.#around.tables.has(name));
    if (missing !== undefined) return { kind: "trouble", reason: `table ${missing} cannot be used` };
    const parts = splitAddress(address);
    const domain = parts === undefined ? undefined : domainKey(parts.domain);
    // Strangers write anything; what is no address has no entry.
    if (parts === undefined || domain === undefined || !isLocalPart(parts.localPart)) return { kind: "none" };
    const { localPart: local } = parts;
    const whole = localPartKey(local);
    const at = extensionAt(whole, this.#around.delimiters);
    const bare = at > 0 ? whole.slice(0, at) : undefined;
    const isOwn = this.#around.ownDomains.has(domain);

    const exact =
      this.#fixed(whole, domain) ?? this.#matching(nonAscii.test(parts.domain) ? `${local}@${domain}` : address);
    if (exact !== undefined) return this.#result(exact, local, "");
    if (bare !== undefined) {
      const found = this.#fixed(bare, domain);
      if (found !== undefined) return this.#result(found, local, whole.slice(at));
    }
    if (isOwn) {
      const found = this.#fixed(whole);
      if (found !== undefined) return this.#result(found, local, "");
      const withoutExtension = bare === undefined ? undefined : this.#fixed(bare);
      if (withoutExtension !== undefined) return this.#result(withoutExtension, local, whole.slice(at));
    }
    const ofDomain = this.#fixed("", domain);
    return ofDomain === undefined ? { kind: "none" } : this.#result(ofDomain, local, "");
  }

  /** Entries and tables of exact keys; a table may be written with the domain in either form. */
  #fixed(local: string, domain?: string): string | undefined {
    const key = domain === undefined ? local : `${local}@${domain}`;
    const entry = this.#entries.get(key);
    if (entry !== undefined) return entry;
    const unicode = domain?.includes("xn--") === true ? `${local}@${domainToUnicode(domain)}` : undefined;
    for (const table of this.#tables(false)) {
      const found = table.find(key) ?? (unicode === undefined ? undefined : table.find(unicode));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #matching(address: string): string | undefined {
    for (const table of this.#tables(true)) {
      const found = table.find(address);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #tables(ofPatterns: boolean): Table[] {
    return this.#settings.tables.flatMap((name) => {
      const table = this.#around.tables.get(name);
      return table === undefined || table.wholeKeyOnly !== ofPatterns ? [] : [table];
    });
  }

  /** `extension`: what had to be cut off to find it, in lower case. */
  #result(value: string, local: string, extension: string): Found {
    const written = value.trim();
    const quoted = local.startsWith('"');
    // In the case the sender wrote it; a quoted local part is written differently from its key.
    const suffix = quoted || extension === "" ? extension : local.slice(local.length - extension.length);
    const withOrigin = written.startsWith("@")
      ? `${extension === "" ? local : quoted ? localPartKey(local).slice(0, -extension.length) : local.slice(0, -extension.length)}${written}`
      : written.includes("@")
        ? written
        : `${written}@${this.#around.origin}`;
    const parts = splitAddress(withOrigin);
    if (parts === undefined) return notAnAddress(written);
    const domain = nonAscii.test(parts.domain) ? domainKey(parts.domain) : parts.domain;
    const full =
      this.#settings.propagateExtension && suffix !== "" && !parts.localPart.endsWith('"')
        ? `${parts.localPart}${suffix}`
        : parts.localPart;
    if (!isLocalPart(full) || domain === undefined || domainKey(domain) === undefined) return notAnAddress(written);
    const address = `${full}@${domain}`;
    return address.length > LONGEST ? notAnAddress(written) : { kind: "address", address };
  }
}

const notAnAddress = (value: string): Found => ({
  kind: "trouble",
  reason: `the result "${value.slice(0, 100)}" is not an address`,
});
