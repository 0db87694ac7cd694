/**
 * Addresses: Mailbox and Alias objects → `addresses` and `passwords`.
 *
 * Stands in build/ after domains. One address has one owner: the older object, mailbox or alias alike. A mailbox whose password cannot be used still gets its
 * mail; only its authentication is off. RFC 5321 §2.3.11 (local part), RFC 5233 (subaddress: delimiters are the server's, never part of an entry).
 */
import type { AddressEntry } from "../../server/config/schema.ts";
import { hasForeignBackEnds, saltKeyOf } from "./authentication.ts";
import { Claims, conflictMessage, olderFirst } from "./claims.ts";
import { type Context, letIn, type ServedDomain } from "./context.ts";
import { deliveryOf } from "./deliveries.ts";
import { catchAllOf } from "./domains.ts";
import { destinationAddress, domainOf, tableAddress } from "./keys.ts";
import { passwordHash, scramOfPlaintext } from "./passwords.ts";
import { secretKey, targetOf } from "./references.ts";
import { type Alias, describe, type MailDomain, type Mailbox, type MailObject, objectKey } from "./world.ts";

export interface AddressTable {
  readonly entries: Map<string, AddressEntry>;
  /** By domain. */
  readonly catchAll: Map<string, readonly string[]>;
}

/** Whether the MailDomain it names is there at all; otherwise the object learns so. */
function refersToDomain(object: Mailbox | Alias, { domainNames, findings }: Context): boolean {
  const target = targetOf(object, object.spec.domainRef);
  if (domainNames.has(target)) return true;
  findings.refuse(
    objectKey(object),
    "InvalidReference",
    `MailDomain ${target} does not exist; create it or correct spec.domainRef.`,
  );
  return false;
}

/** The MailDomain an object belongs to, if it holds its domain; otherwise the object learns what is wrong. */
function domainFor(object: Mailbox | Alias, { served, findings }: Context): ServedDomain | undefined {
  const target = targetOf(object, object.spec.domainRef);
  const found = served.get(target);
  if (found === undefined)
    findings.refuse(objectKey(object), "InvalidReference", `MailDomain ${target} is not accepted; see its conditions.`);
  return found;
}

/** Addresses and `@domain` as keys. An empty list stays empty; a list of which nothing is usable is undefined, because empty means "any" to some readers. */
export function permittedAddresses(
  object: MailObject,
  list: readonly string[],
  field: string,
  { findings }: Pick<Context, "findings">,
  ownDomain?: string,
): string[] | undefined {
  const keys = new Set<string>();
  for (const written of list) {
    const key = tableAddress(written, ownDomain);
    if (key === undefined)
      findings.refuse(
        objectKey(object),
        "Invalid",
        `"${written}" in ${field} is not an address or @domain; correct it.`,
      );
    else keys.add(key);
  }
  return list.length > 0 && keys.size === 0 ? undefined : [...keys].sort();
}

function destinationsOf(
  object: Mailbox | Alias,
  list: readonly string[],
  field: string,
  domain: string,
  { findings }: Context,
): string[] {
  const destinations = new Set<string>();
  for (const written of list) {
    const destination = destinationAddress(written, domain);
    if (destination === undefined)
      findings.refuse(objectKey(object), "Invalid", `"${written}" in ${field} is not an address; correct it.`);
    else destinations.add(destination);
  }
  return [...destinations];
}

class AddressBuilder {
  readonly #context: Context;
  readonly #claims = new Claims();
  readonly table: AddressTable = { entries: new Map(), catchAll: new Map() };

  constructor(context: Context) {
    this.#context = context;
  }

  #claim(address: string, owner: MailObject): boolean {
    const winner = this.#claims.claim(address, owner);
    if (winner === undefined) return true;
    const what = address.startsWith("@") ? `The catch-all of ${address.slice(1)}` : `Address ${address}`;
    this.#context.findings.refuse(objectKey(owner), "Conflict", conflictMessage(what, winner));
    return false;
  }

  domain(served: ServedDomain): void {
    const destinations = catchAllOf(served, this.#context);
    if (destinations.length > 0 && this.#claim(`@${served.domain}`, served.object))
      this.table.catchAll.set(served.domain, destinations);
  }

  mailbox(object: Mailbox): void {
    const { findings } = this.#context;
    const { spec } = object;
    const key = objectKey(object);
    const served = domainFor(object, this.#context);
    if (served === undefined) return;
    const address = tableAddress(spec.address, served.domain);
    if (address === undefined || address.startsWith("@"))
      return findings.refuse(
        key,
        "Invalid",
        `"${spec.address}" is not an address a mailbox can have; correct spec.address.`,
      );
    if (domainOf(address) !== served.domain) {
      return findings.refuse(
        key,
        "InvalidReference",
        `${address} is not in ${served.domain}, the domain of ${describe(served.object)}; correct spec.address or spec.domainRef.`,
      );
    }
    if (served.object.spec.class === "Alias") {
      return findings.refuse(
        key,
        "InvalidReference",
        `${describe(served.object)} is of class Alias and holds no mailboxes; make it class Mailbox, or use an Alias object.`,
      );
    }
    if (!this.#claim(address, object)) return;
    const delivery = spec.delivery === undefined ? undefined : deliveryOf(spec.delivery, object, this.#context);
    const sendAs = permittedAddresses(object, spec.sendAs, "spec.sendAs", this.#context, served.domain) ?? [];
    this.table.entries.set(address, {
      mailbox: {
        ...(delivery === undefined ? {} : { delivery }),
        authentication: this.#password(object, address),
        suspended: spec.suspended,
        forwardTo: destinationsOf(object, spec.forwardTo, "spec.forwardTo", served.domain, this.#context),
        keepCopy: spec.keepCopy,
        sendAs,
      },
    });
  }

  /** Whether this user can authenticate; its hash goes to the secret slice. */
  #password(object: Mailbox, address: string): boolean {
    const { spec } = object;
    if (spec.authentication === "Disabled") return false;
    // Another back end, or a certificate, may know this user.
    if (spec.passwordSecretRef === undefined) return this.#isKnownElsewhere(address);
    const name = secretKey(object, spec.passwordSecretRef.name);
    const { secrets, findings } = this.#context;
    const result = passwordHash(address, name, secrets.text(name), spec.passwordSecretRef.key);
    if (!result.ok) {
      findings.refuse(
        objectKey(object),
        result.reason,
        `${result.message} Until then the mailbox gets its mail, but its user cannot authenticate.`,
      );
      return false;
    }
    secrets.passwords.set(address, result.hash);
    const { server } = this.#context.world;
    if (result.plaintext !== undefined && server.spec.authentication.mechanisms.includes("SCRAM-SHA-256"))
      secrets.scramVerifiers.set(address, scramOfPlaintext(address, result.plaintext, saltKeyOf(server)));
    return true;
  }

  #isKnownElsewhere(address: string): boolean {
    const { server, relayClientCerts } = this.#context.world;
    const isUser = (written: string | undefined): boolean => written !== undefined && tableAddress(written) === address;
    return hasForeignBackEnds(server) || relayClientCerts.some(({ spec }) => isUser(spec.authenticatesAs));
  }

  alias(object: Alias): void {
    const { findings } = this.#context;
    const key = objectKey(object);
    const served = domainFor(object, this.#context);
    if (served === undefined) return;
    for (const { addresses, destinations, senders, relocatedTo, field } of entriesOf(object)) {
      const into = destinationsOf(object, destinations, `${field}destinations`, served.domain, this.#context);
      if (into.length === 0 && relocatedTo === undefined) {
        findings.refuse(key, "Invalid", `${addresses.join(", ")} leads nowhere; give it destinations or relocatedTo.`);
        continue;
      }
      const mayUse = permittedAddresses(object, senders, `${field}senders`, this.#context, served.domain) ?? [];
      for (const written of addresses) {
        const address = tableAddress(written, served.domain);
        if (address === undefined || domainOf(address) !== served.domain) {
          findings.refuse(
            key,
            address === undefined ? "Invalid" : "InvalidReference",
            `"${written}" is not an address in ${served.domain}, the domain of ${describe(served.object)}; correct it or spec.domainRef.`,
          );
          continue;
        }
        if (!this.#claim(address, object)) continue;
        this.table.entries.set(
          address,
          relocatedTo === undefined ? { alias: { destinations: into, senders: mayUse } } : { relocatedTo },
        );
      }
    }
  }
}

interface AliasEntry {
  readonly addresses: readonly string[];
  readonly destinations: readonly string[];
  readonly senders: readonly string[];
  readonly relocatedTo: string | undefined;
  /** Prefix of the fields in messages. */
  readonly field: string;
}

function entriesOf({ spec }: Alias): AliasEntry[] {
  const own = {
    addresses: spec.addresses,
    destinations: spec.destinations,
    senders: spec.senders,
    relocatedTo: spec.relocatedTo,
    field: "spec.",
  };
  const more = spec.entries.map(({ address, destinations, senders }, index) => ({
    addresses: [address],
    destinations,
    senders: senders ?? [],
    relocatedTo: undefined,
    field: `spec.entries[${index}].`,
  }));
  return spec.addresses.length > 0 ? [own, ...more] : more;
}

export function buildAddresses(context: Context): AddressTable {
  const { world, served } = context;
  const builder = new AddressBuilder(context);
  const holders = new Map<MailDomain, ServedDomain>([...served.values()].map((each) => [each.object, each]));
  // Where an object refers to nothing, it is not this server that keeps it out: the reference is what must be said.
  const resolved = [...world.mailboxes, ...world.aliases].filter((object) => refersToDomain(object, context));
  const objects = [...holders.keys(), ...letIn(context, resolved)].sort(olderFirst);
  for (const object of objects) {
    if (object.kind === "Mailbox") builder.mailbox(object);
    else if (object.kind === "Alias") builder.alias(object);
    else {
      const domain = holders.get(object);
      if (domain !== undefined) builder.domain(domain);
    }
  }
  return builder.table;
}
