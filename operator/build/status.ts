/**
 * Status: verdict + what the pods say they run → the conditions of an object.
 *
 * Stands after build and apply; pure. `lastTransitionTime` moves only when a status flips, so an unchanged world writes nothing. Programmed of a dependent object is
 * sticky: once every pod ran a set with this generation of it, a later set (somebody else's change) contains it too, and ten thousand objects need not be written
 * twice for each change of one. The MailServer's own Programmed always tells of the set of this moment. KEP-1623, kstatus (Reconciling, Stalled).
 */
import type { Condition as OurCondition, Reason } from "../../crds/conditions.ts";
import type { Condition } from "../kube/types.ts";
import type { Verdict } from "./verdict.ts";

/** What a pod's admin port answered to /config: the hash it runs, or why that is not known; and why it refuses a newer set. */
export interface PodReport {
  readonly name: string;
  readonly hash?: string | undefined;
  readonly error?: string | undefined;
  readonly rejected?: string | undefined;
}

export interface StatusInput {
  readonly generation: number;
  readonly verdict: Verdict;
  readonly previous: readonly Condition[];
  /** The set that has been written. */
  readonly desiredHash: string;
  readonly pods: readonly PodReport[];
  /** Programmed stays once it was true for this generation (everything but the MailServer). */
  readonly sticky: boolean;
  /** Why the object is not ready although programmed: pods missing, a slice that cannot be written. */
  readonly notReady?: { readonly reason: Reason; readonly message: string; readonly stalled: boolean } | undefined;
  /** Of a MailServer: whether clients are seen by their own addresses (source-address.ts). */
  readonly sourceAddress?: Judgement;
  readonly nowMs: number;
}

type Judgement = Pick<OurCondition, "status" | "reason" | "message">;

const yes = (reason: Reason, message: string): Judgement => ({ status: "True", reason, message });
const no = (reason: Reason, message: string): Judgement => ({ status: "False", reason, message });

function acceptedOf(verdict: Verdict): Judgement {
  const warnings =
    verdict.warnings.length === 0
      ? ""
      : ` Note: ${verdict.warnings.slice(0, 5).join(" ")}${verdict.warnings.length > 5 ? ` And ${verdict.warnings.length - 5} more.` : ""}`;
  return verdict.accepted
    ? yes("Accepted", `Valid, references resolved, no conflict.${warnings}`.slice(0, 8192))
    : no(verdict.reason, `${verdict.message}${warnings}`.slice(0, 8192));
}

function programmedOf({ verdict, previous, generation, pods, desiredHash, sticky }: StatusInput): Judgement {
  // A MailServer with something wrong in it runs all the same; whether it does is what its Programmed tells.
  if (!verdict.accepted && sticky)
    return no("NotAccepted", "Not in the running configuration, or not as written; see Accepted.");
  const before = previous.find(({ type }) => type === "Programmed");
  if (sticky && before?.status === "True" && before.observedGeneration === generation)
    return yes("Programmed", before.message);
  if (pods.length === 0) return no("NoPods", "The MailServer has no running pod yet.");
  const behind = pods.filter(({ hash }) => hash !== desiredHash);
  if (behind.length === 0) return yes("Programmed", "Every pod runs a configuration that contains this.");
  const refused = behind.find(({ rejected }) => rejected !== undefined);
  if (refused !== undefined)
    return no(
      "ConfigRejected",
      `Pod ${refused.name} refuses the current configuration: ${refused.rejected}`.slice(0, 2048),
    );
  const run = `${pods.length - behind.length} of ${pods.length} pods run the current configuration`;
  const silent = behind.find(({ error }) => error !== undefined);
  if (silent !== undefined)
    return no("PodsUnreachable", `${run}; pod ${silent.name} does not say: ${silent.error}`.slice(0, 2048));
  return no("Pending", `${run}.`);
}

export function conditionsOf(input: StatusInput): Condition[] {
  const { verdict, generation, previous, notReady } = input;
  const accepted = acceptedOf(verdict);
  const programmed = programmedOf(input);
  const isProgrammed = programmed.status === "True";
  const ready = !verdict.accepted
    ? no(accepted.reason, verdict.message)
    : !isProgrammed
      ? no(programmed.reason, programmed.message)
      : notReady === undefined
        ? yes("Ready", "In force on every pod.")
        : no(notReady.reason, notReady.message);
  const isStalled = !verdict.accepted || programmed.reason === "ConfigRejected" || notReady?.stalled === true;
  const isReconciling = ready.status === "False" && !isStalled;
  const judgements: readonly (readonly [type: OurCondition["type"], judgement: Judgement])[] = [
    ["Accepted", accepted],
    ["Programmed", programmed],
    ["Ready", ready],
    ["Reconciling", isReconciling ? yes(ready.reason, ready.message) : no("Idle", "Nothing is on its way.")],
    ["Stalled", isStalled ? yes(ready.reason, ready.message) : no("Idle", "Nothing waits for a person.")],
    ...(input.sourceAddress === undefined ? [] : ([["SourceIPPreserved", input.sourceAddress]] as const)),
  ];
  const now = `${new Date(input.nowMs).toISOString().slice(0, 19)}Z`;
  const ours = new Set<string>(judgements.map(([type]) => type));
  return [
    ...judgements.map(([type, judgement]): Condition => {
      const before = previous.find((condition) => condition.type === type);
      const lastTransitionTime = before?.status === judgement.status ? before.lastTransitionTime : now;
      return { type, ...judgement, lastTransitionTime, observedGeneration: generation };
    }),
    // Conditions of other writers (DNSReady) are theirs.
    ...previous.filter(({ type }) => !ours.has(type)),
  ];
}

/** Whether writing `next` over `before` would change anything. */
export const sameConditions = (before: readonly Condition[], next: readonly Condition[]): boolean =>
  before.length === next.length &&
  next.every((condition) => {
    const old = before.find(({ type }) => type === condition.type);
    return (
      old !== undefined &&
      old.status === condition.status &&
      old.reason === condition.reason &&
      old.message === condition.message &&
      old.observedGeneration === condition.observedGeneration &&
      old.lastTransitionTime === condition.lastTransitionTime
    );
  });
