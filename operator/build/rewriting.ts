/**
 * Rewriting: MailServer.spec.addresses → `rewriting`.
 *
 * Stands in build/, pure. A map that cannot be used as written is said and left out, entry by entry, but a table that does not exist or is of the wrong type stays named:
 * the server puts off the mail that would be rewritten by it, because mail with an address that nobody should see cannot be called back.
 */
import { localPartKey } from "../../server/config/address.ts";
import type { AddressMap, RewritingSettings } from "../../server/config/rewriting.ts";
import type { Context } from "./context.ts";
import { destinationAddress, domainOf, tableAddress, tableDomain } from "./keys.ts";
import { type MailServer, objectKey } from "./world.ts";

type Spec = MailServer["spec"]["addresses"];
type MapSpec = Spec["generic"][number];

/** All maps together lie in one ConfigMap of 1 MiB, beside the tables (lookups.ts) and everything else of the server. */
const MAX_MAPS = 200_000;

function keyOf(from: string): string | undefined {
  if (from.includes("@")) return tableAddress(from);
  const local = localPartKey(from);
  return local === "" || tableAddress(from, "local.invalid") === undefined ? undefined : local;
}

function resultOf(to: string): string | undefined {
  if (!to.startsWith("@")) return destinationAddress(to);
  const key = tableAddress(to);
  return key === undefined ? undefined : `@${domainOf(key)}`;
}

class Builder {
  readonly #context: Context;
  readonly #key: string;
  #room = MAX_MAPS;

  constructor(context: Context) {
    this.#context = context;
    this.#key = objectKey(context.world.server);
  }

  #wrong(path: string, error: string): void {
    this.#context.findings.refuse(this.#key, "Invalid", `${path}: ${error}`);
  }

  domain(path: string, text: string | undefined): string | undefined {
    const found = text === undefined ? undefined : tableDomain(text);
    if (text !== undefined && found === undefined) this.#wrong(path, `"${text}" is not a domain; correct it.`);
    return found;
  }

  map(path: string, spec: MapSpec, propagateExtension: boolean): AddressMap {
    const entries = new Map<string, string>();
    for (const { from, to } of spec.entries ?? []) {
      const [key, result] = [keyOf(from), resultOf(to)];
      if (key === undefined)
        this.#wrong(`${path}.entries`, `"${from}" is not an address, @domain or local part; correct it.`);
      else if (result === undefined)
        this.#wrong(`${path}.entries`, `"${to}" is not an address or @domain; correct it.`);
      else if (entries.has(key))
        this.#wrong(
          `${path}.entries`,
          `"${from}" is there twice; remove one of them. Until then the first one counts.`,
        );
      else entries.set(key, result);
    }
    const map: AddressMap = {
      entries: Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1))),
      tables: [...(spec.tables ?? [])],
      propagateExtension: spec.propagateExtension ?? propagateExtension,
    };
    for (const name of map.tables) this.#table(path, name);
    this.#room -= Buffer.byteLength(JSON.stringify(map.entries));
    if (this.#room >= 0) return map;
    this.#wrong(
      path,
      `all entries together may hold ${MAX_MAPS} octets; use a table for more. Until then these do not count.`,
    );
    return { ...map, entries: {} };
  }

  #table(path: string, name: string): void {
    const table = this.#context.world.server.spec.tables.find((each) => each.name === name);
    const until = "Until then mail that it would rewrite waits.";
    if (table === undefined)
      this.#wrong(`${path}.tables`, `"${name}" is not in spec.tables; add it, or correct the name. ${until}`);
    else if (table.type === "CIDR")
      this.#wrong(`${path}.tables`, `"${name}" is a table of networks; addresses need Hash, Regexp or PCRE. ${until}`);
  }
}

export function rewritingOf(context: Context): RewritingSettings {
  const { canonical, generic, masquerade, rewriteHeadersOf, complete } = context.world.server.spec.addresses;
  const builder = new Builder(context);
  const path = "spec.addresses";
  const origin = builder.domain(`${path}.complete.origin`, complete.origin);
  const parent = builder.domain(`${path}.complete.parent`, complete.parent);
  return {
    canonical: canonical.map((spec, place) => ({
      classes: [
        ...(spec.classes ?? (["EnvelopeSender", "EnvelopeRecipient", "HeaderSender", "HeaderRecipient"] as const)),
      ].sort(),
      ...builder.map(`${path}.canonical[${place}]`, spec, true),
    })),
    masquerade: {
      domains: masquerade.domains.flatMap((text) => {
        const isHidden = !text.startsWith("!");
        const domain = builder.domain(`${path}.masquerade.domains`, isHidden ? text : text.slice(1));
        return domain === undefined ? [] : [{ domain, isHidden }];
      }),
      exceptions: [...new Set(masquerade.exceptions.map(localPartKey))].filter((each) => each !== "").sort(),
      classes: [...masquerade.classes].sort(),
    },
    generic: generic.map((spec, place) => builder.map(`${path}.generic[${place}]`, spec, false)),
    rewriteHeadersOf: [...rewriteHeadersOf].sort(),
    complete: { ...(origin === undefined ? {} : { origin }), ...(parent === undefined ? {} : { parent }) },
  };
}
