/**
 * Restrictions: MailServer.spec.restrictions → `restrictions` of the server's section, complete.
 *
 * Stands in build/. Two things are written in front of a list that does not say otherwise: the AccessRules of its scope, which also hold for trusted clients, and whom the
 * list is not for (`exempt`). A check that names a table without rules is said, because a typing mistake there lets everybody through.
 */
import {
  type AccessCheck,
  exemptions,
  type Restrictions,
  type RestrictionStage,
} from "../../server/config/restrictions.ts";
import { type Context, letIn } from "./context.ts";
import { objectKey } from "./world.ts";

/** The check of the AccessRules that belong to a list. DATA has no scope of its own. */
const ownAccess: Readonly<Record<RestrictionStage, AccessCheck | undefined>> = {
  client: "CheckClientAccess",
  helo: "CheckHeloAccess",
  sender: "CheckSenderAccess",
  recipient: "CheckRecipientAccess",
  data: undefined,
  etrn: "CheckEtrnAccess",
};
const stages = ["client", "helo", "sender", "recipient", "data", "etrn"] as const;

const POLICY_SERVICE = "CheckPolicyService ";

function sayMissingTables(context: Context, named: ReadonlySet<string>): void {
  const { world, findings } = context;
  const tables = new Set(
    letIn(context, world.accessRules).flatMap(({ spec }) =>
      spec.table === undefined ? [] : [`Check${spec.scope}Access ${spec.table}`],
    ),
  );
  const { lookups, tables: inline } = world.server.spec;
  const sources = new Set([...lookups.mysql, ...lookups.ldap, ...lookups.socketmap, ...inline].map(({ name }) => name));
  const services = new Set(world.server.spec.policyServices.map(({ name }) => name));
  for (const check of named) {
    if (check.startsWith(POLICY_SERVICE)) {
      if (!services.has(check.slice(POLICY_SERVICE.length)))
        findings.refuse(
          objectKey(world.server),
          "Invalid",
          `"${check}" in spec.restrictions names none of spec.policyServices; correct the name. Until then whoever comes that far in the list is told to come again (451).`,
        );
    } else if (check.includes(" ") && !tables.has(check) && !sources.has(check.split(" ")[1] ?? ""))
      findings.warn(
        objectKey(world.server),
        `"${check}" in spec.restrictions names neither a table of AccessRules of that scope nor a source of spec.lookups or spec.tables; it matches nothing.`,
      );
  }
}

export function buildRestrictions(context: Context): Restrictions {
  const { restrictions } = context.world.server.spec;
  const named = new Set(stages.flatMap((stage) => restrictions[stage]));
  sayMissingTables(context, named);
  const complete = (stage: RestrictionStage): string[] => {
    const written = restrictions[stage];
    const access = ownAccess[stage];
    const rules = access === undefined || named.has(access) ? [] : [access];
    const isBare =
      written.length > 0 && stage !== "data" && !written.some((name) => exemptions.some((each) => each === name));
    return [...rules, ...(isBare ? restrictions.exempt : []), ...written];
  };
  return {
    delayReject: restrictions.delayReject,
    client: complete("client"),
    helo: complete("helo"),
    sender: complete("sender"),
    recipient: complete("recipient"),
    data: complete("data"),
    etrn: complete("etrn"),
  };
}
