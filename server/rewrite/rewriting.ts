/**
 * Rewriting: what an address becomes, on the way in and on the way out. The order, as Postfix has it (ADDRESS_REWRITING_README):
 *
 *   RCPT TO ─ checks and relaying see the address as the client wrote it (only completed); whether it exists is asked of what it becomes (rewrite/standing.ts)
 *   way in  ─ complete (origin, parent) ▶ canonical maps in turn ▶ masquerade: envelope when the message is stored, header of our own clients
 *   queue   ─ aliases, forwarding, transport, at each attempt (route/): they see the rewritten address
 *   way out ─ generic, envelope and header, SMTP only, at each attempt: after the next hop and its TLS were chosen; never stored
 *
 * A canonical map is applied again to what it gave until nothing changes; after ten rounds that is trouble. Generic is applied once. Trouble (a circle, a result
 * that is no address, a table that cannot be used) is a value: whoever asks makes the mail wait (451). Pure; compiled once for a configuration.
 * RFC 5321 §4.5.5: the null sender is never rewritten; §4.5.1: neither is <postmaster> without a domain.
 */
import { domainKey, splitAddress } from "../config/address.ts";
import type { AddressClass } from "../config/rewriting.ts";
import type { LiveConfig, ServerSection } from "../config/schema.ts";
import { Table } from "../lookup/table.ts";
import { AddressMap, type Found, isLocalPart } from "./address-map.ts";
import { masqueraded } from "./masquerade.ts";

export type Rewritten =
  | { readonly kind: "address"; readonly address: string }
  | { readonly kind: "trouble"; readonly reason: string };

/** Trouble on its way through what knows only errors: streams of a message's octets. */
export class RewritingTrouble extends Error {}

const MAX_ROUNDS = 10;
const compiled = new WeakMap<ServerSection, Rewriting>();

export class Rewriting {
  readonly #server: Pick<ServerSection, "rewriting">;
  readonly #canonical: readonly { readonly classes: readonly AddressClass[]; readonly map: AddressMap }[];
  readonly #generic: readonly AddressMap[];

  /** Of this configuration; the same one while it lives. */
  static of({ server }: Pick<LiveConfig, "server">): Rewriting {
    let rewriting = compiled.get(server);
    if (rewriting === undefined) compiled.set(server, (rewriting = new Rewriting(server)));
    return rewriting;
  }

  private constructor(server: ServerSection) {
    this.#server = server;
    const { canonical, generic, complete } = server.rewriting;
    const wanted = new Set([...canonical, ...generic].flatMap(({ tables }) => tables));
    const tables = new Map(
      server.lookups.flatMap((source) =>
        source.kind === "table" && source.type !== "CIDR" && wanted.has(source.name)
          ? [[source.name, new Table(source)] as const]
          : [],
      ),
    );
    const around = {
      tables,
      delimiters: server.recipientDelimiters,
      ownDomains: new Set([server.hostname, ...(complete.origin === undefined ? [] : [complete.origin])]),
      origin: complete.origin ?? server.hostname,
    };
    this.#canonical = canonical.map((settings) => ({
      classes: settings.classes,
      map: new AddressMap(settings, around),
    }));
    this.#generic = generic.map((settings) => new AddressMap(settings, around));
  }

  /** Whether addresses of these classes can change on the way in. */
  touches(...classes: readonly AddressClass[]): boolean {
    const { masquerade, complete } = this.#server.rewriting;
    const isTouched = (own: readonly AddressClass[]): boolean => classes.some((each) => own.includes(each));
    return (
      complete.origin !== undefined ||
      complete.parent !== undefined ||
      (masquerade.domains.length > 0 && isTouched(masquerade.classes)) ||
      this.#canonical.some((step) => isTouched(step.classes))
    );
  }

  get touchesOutgoing(): boolean {
    return this.#generic.length > 0;
  }

  /** What is missing is added; nothing else. */
  completed(address: string): string {
    const { origin, parent } = this.#server.rewriting.complete;
    if (address === "" || address.toLowerCase() === "postmaster") return address;
    if (!address.includes("@")) return origin === undefined || !isLocalPart(address) ? address : `${address}@${origin}`;
    const parts = splitAddress(address);
    if (parent === undefined || parts === undefined || parts.domain === "" || /[.[]/.test(parts.domain)) return address;
    if (!isLocalPart(parts.localPart)) return address;
    const domain = `${parts.domain}.${parent}`;
    return domainKey(domain) === undefined ? address : `${parts.localPart}@${domain}`;
  }

  wayIn(written: string, where: AddressClass): Rewritten {
    let address = this.completed(written);
    if (!address.includes("@")) return { kind: "address", address };
    for (const { classes, map } of this.#canonical) {
      if (!classes.includes(where)) continue;
      const found = untilStable(map, address);
      if (found.kind === "trouble") return found;
      ({ address } = found);
    }
    const { masquerade } = this.#server.rewriting;
    if (masquerade.classes.includes(where)) address = masqueraded(masquerade, address);
    return { kind: "address", address };
  }

  wayOut(address: string): Rewritten {
    for (const map of this.#generic) {
      const found = map.find(address);
      if (found.kind !== "none") return found;
    }
    return { kind: "address", address };
  }
}

/** For whoever reads an address that may lack something; nothing where the configuration does not say what. */
export function completion(config: LiveConfig): { readonly completed?: (address: string) => string } {
  const { origin, parent } = config.server.rewriting.complete;
  return origin === undefined && parent === undefined
    ? {}
    : { completed: (address) => Rewriting.of(config).completed(address) };
}

function untilStable(map: AddressMap, start: string): Rewritten {
  let address = start;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const found: Found = map.find(address);
    if (found.kind === "trouble") return found;
    if (found.kind === "none") return { kind: "address", address };
    if (found.address.toLowerCase() === address.toLowerCase()) return found;
    ({ address } = found);
  }
  return { kind: "trouble", reason: `the canonical map leads ${start.slice(0, 100)} in a circle` };
}
