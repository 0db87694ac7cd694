/**
 * Claims: who gets a domain, an address, a destination or a fingerprint that several objects ask for.
 *
 * Stands in build/, used by every table. The older object wins (creationTimestamp, then namespace/name, then kind), so an object that works is never broken by
 * one that comes later; the younger learns the winner's name. Pure: the order in which a watch delivered the objects does not matter.
 */
import type { MailObject } from "./world.ts";
import { describe } from "./world.ts";

const createdMs = (object: MailObject): number => {
  const ms = Date.parse(object.metadata.creationTimestamp ?? "");
  // Not yet created anywhere: the youngest of all.
  return Number.isNaN(ms) ? Number.MAX_SAFE_INTEGER : ms;
};

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** `namespace/name`, then kind: an order that does not depend on when objects were created. */
export const byName = (a: MailObject, b: MailObject): number =>
  byText(a.metadata.namespace ?? "", b.metadata.namespace ?? "") ||
  byText(a.metadata.name, b.metadata.name) ||
  byText(a.kind, b.kind);

export const olderFirst = (a: MailObject, b: MailObject): number => createdMs(a) - createdMs(b) || byName(a, b);

export class Claims<Owner extends MailObject = MailObject> {
  readonly #owners = new Map<string, Owner>();

  /** undefined: it is yours (or was already). Otherwise the owner. Ask in the order of `olderFirst`. */
  claim(what: string, owner: Owner): Owner | undefined {
    const first = this.#owners.get(what);
    if (first === undefined) this.#owners.set(what, owner);
    return first === undefined || first === owner ? undefined : first;
  }

  ownerOf(what: string): Owner | undefined {
    return this.#owners.get(what);
  }
}

export const conflictMessage = (what: string, winner: MailObject): string =>
  `${what} is already taken by ${describe(winner)}, which is older; remove it from one of the two.`;
