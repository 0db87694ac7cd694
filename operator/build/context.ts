/** What every concern of one build works with: the world, what was found out about its objects, and the secrets taken so far. */
import { mayRefer } from "./references.ts";
import type { SecretTables } from "./secrets.ts";
import type { Findings } from "./verdict.ts";
import { objectKey, type MailDomain, type MailObject, type World } from "./world.ts";

/** A MailDomain that holds its domain. */
export interface ServedDomain {
  readonly object: MailDomain;
  /** Table key. */
  readonly domain: string;
}

export interface Context {
  readonly world: World;
  readonly findings: Findings;
  readonly secrets: SecretTables;
  /** By `namespace/name` of the MailDomain; filled by domains.ts, which runs first. */
  readonly served: ReadonlyMap<string, ServedDomain>;
  /** `namespace/name` of every MailDomain of the world, serving or not. */
  readonly domainNames: ReadonlySet<string>;
}

/** Those that may refer to the server; the others learn why not. */
export function letIn<O extends MailObject>(
  { world, findings }: Pick<Context, "world" | "findings">,
  objects: readonly O[],
): O[] {
  return objects.filter((object) => {
    const refusal = mayRefer(world, object);
    if (refusal !== undefined) findings.refuse(objectKey(object), refusal.reason, refusal.message);
    return refusal === undefined;
  });
}
