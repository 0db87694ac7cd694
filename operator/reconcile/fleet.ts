/**
 * Reconcile of one MailServer: gather → build → apply → ask and kick → status. Level-based: it looks at what is, never at what happened.
 *
 * `carryOut` writes what is wanted, `follow` watches the pods take it and tells in status. Between two changes of the world only `follow` runs, from what the last build
 * said. Nothing is written when nothing differs. Fails by throwing (the work queue tries again, growing pauses) after it has told the MailServer's status why.
 */
import { MANIFEST_FILE, renderFiles } from "../../server/config/files.ts";
import { manifestSchema } from "../../server/config/schema.ts";
import type { MailServer } from "../../crds/kinds.ts";
import { buildDesired, type Desired, objectsOf } from "../build/build.ts";
import { oversizedFiles } from "../build/config-objects.ts";
import { buildObjects } from "../build/objects.ts";
import { sourceAddressOf } from "../build/source-address.ts";
import { conditionsOf, type PodReport } from "../build/status.ts";
import { warmPasswords } from "../build/warm-passwords.ts";
import { nameKey, objectKey, type World } from "../build/world.ts";
import { selectorOf } from "../build/names.ts";
import type { Applier } from "../kube/apply.ts";
import type { KubeClient } from "../kube/client.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { Log } from "../kube/log.ts";
import { type Condition, type KubeObject, keyOf, type Manifest, resourceOf } from "../kube/types.ts";
import type { Outcome } from "../kube/work-queue.ts";
import { askPod, type Pod, type PodAnswer } from "./ask-pods.ts";
import { type Gathered, gather, gatherWorld } from "./gather.ts";
import { KICK_ANNOTATION, Kicks } from "./kick.ts";
import type { Stores } from "./stores.ts";

export interface ReconcilerOptions {
  readonly stores: Stores;
  readonly client: KubeClient;
  readonly applier: Applier;
  readonly events: EventRecorder;
  readonly log: Log;
  readonly operatorNamespace: string;
  readonly image: string;
  readonly now?: () => number;
  readonly ask?: typeof askPod;
}

/** What the last build of a server said. */
interface Carried {
  readonly world: World;
  readonly desired: Desired;
  readonly hash: string;
  readonly askedSecrets: ReadonlySet<string>;
  /** Which generation of each object the build looked at, by `objectKey`. */
  readonly generations: ReadonlyMap<string, number | undefined>;
  /** Why an object could not be written; the pods keep what they run. */
  readonly applyFailure: string | undefined;
  readonly atMs: number;
}

/** How soon to look at the pods again while they are not where they should be, by how long that has been so. */
const followPauses: readonly (readonly [sinceMs: number, pauseMs: number])[] = [
  [3000, 60],
  [15_000, 500],
  [Number.POSITIVE_INFINITY, 3000],
];
/** Totals and pods are looked at again this often while all is well. */
const RESTING_MS = 20_000;
/** Queue totals in status are for reading, not for graphs: written at most this often. */
const TOTALS_MS = 60_000;

type Statused = KubeObject & {
  readonly status?: { readonly conditions?: readonly Condition[]; readonly queue?: object };
};

export class FleetReconciler {
  readonly #options: ReconcilerOptions;
  readonly #carried = new Map<string, Carried>();
  readonly #stale = new Set<string>();
  readonly #kicks = new Kicks();
  readonly #behindSince = new Map<string, number>();
  readonly #totalsAt = new Map<string, number>();
  readonly #now: () => number;
  #gathered: Gathered | undefined;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** Something a build looks at has changed. */
  invalidate(): void {
    this.#gathered = undefined;
    for (const key of this.#carried.keys()) this.#stale.add(key);
  }

  /** An object this server owns has changed: look at all of them again. */
  invalidateServer(key: string): void {
    this.#stale.add(key);
  }

  /** Whether a build of any server asked for this Secret. */
  usesSecret(key: string): boolean {
    return [...this.#carried.values()].some((carried) => carried.askedSecrets.has(key));
  }

  /** Every MailServer there is. */
  servers(): string[] {
    return [...this.#world().servers.keys()];
  }

  #world(): Gathered {
    this.#gathered ??= gather(this.#options.stores);
    return this.#gathered;
  }

  async reconcile(key: string, signal: AbortSignal): Promise<Outcome> {
    const server = this.#world().servers.get(key);
    if (server === undefined) {
      // Deleted: what it owned goes with it by its owner references, the volumes by their own policy.
      this.#carried.delete(key);
      return undefined;
    }
    let carried = this.#carried.get(key);
    const recheckAtMs = carried?.desired.recheckAtMs;
    if (
      carried === undefined ||
      this.#stale.has(key) ||
      carried.applyFailure !== undefined ||
      (recheckAtMs !== undefined && this.#now() >= recheckAtMs)
    ) {
      this.#stale.delete(key);
      carried = await this.#carryOut(key, server, carried);
      this.#carried.set(key, carried);
    }
    const pauseMs = await this.#follow(key, carried, signal);
    if (carried.applyFailure !== undefined) throw new Error(carried.applyFailure);
    return {
      againInMs:
        carried.desired.recheckAtMs === undefined
          ? pauseMs
          : Math.max(0, Math.min(pauseMs, carried.desired.recheckAtMs - this.#now())),
    };
  }

  async #carryOut(key: string, server: MailServer, before: Carried | undefined): Promise<Carried> {
    const { stores, operatorNamespace, image } = this.#options;
    const lastGood =
      before === undefined ? undefined : new Map(Object.entries(before.desired.config.secrets.certificates));
    const { world, askedSecrets } = gatherWorld(server, this.#world(), stores, this.#now(), lastGood);
    await warmPasswords(world);
    const desired = buildDesired(world);
    const files = renderFiles(desired.config);
    const { hash } = manifestSchema.parse(JSON.parse(files.get(MANIFEST_FILE) ?? "{}"));
    const generations = new Map(objectsOf(world).map((object) => [objectKey(object), object.metadata.generation]));
    const result = { world, desired, hash, askedSecrets, generations, atMs: this.#now() };

    const oversized = oversizedFiles(files);
    if (oversized.length > 0) {
      // Part of a set is no set: the pods keep what they run until somebody gives it more room.
      return {
        ...result,
        hash: before?.hash ?? hash,
        applyFailure: `${oversized.join(", ")} would not fit into an object of 1 MiB; raise spec.configShards of the MailServer`,
      };
    }
    for (const wanted of buildObjects(world, desired.config, { operatorNamespace, image, files })) {
      const failure = await this.#apply(wanted);
      // In order: a manifest must never name a slice that is not there.
      if (failure !== undefined) return { ...result, hash: before?.hash ?? hash, applyFailure: failure };
    }
    const failure = await this.#removeLeftovers(server, files);
    if (before?.hash !== hash)
      this.#options.log.info({ server: key, hash, objects: desired.verdicts.size }, "configuration written");
    return { ...result, applyFailure: failure };
  }

  async #apply(wanted: Manifest): Promise<string | undefined> {
    const { stores, client, applier } = this.#options;
    let observed = stores.get<KubeObject>(wanted.kind, keyOf(wanted));
    if (observed === undefined) {
      // Our stores hold what carries our label. Before taking a name, look whether somebody else has it.
      const resource = resourceOf(wanted);
      const found = resource === undefined ? undefined : await client.get<KubeObject>(resource, wanted.metadata);
      if (found?.ok === true) observed = found.value;
    }
    const result = await applier.apply(wanted, observed);
    return result.ok
      ? undefined
      : `${wanted.kind} ${wanted.metadata.name} could not be written: ${result.failure.message}`;
  }

  /** Slices of a time when there were more of them. */
  async #removeLeftovers(server: MailServer, files: ReadonlyMap<string, string>): Promise<string | undefined> {
    const { stores, applier } = this.#options;
    const { uid, namespace, name } = server.metadata;
    const slice = new RegExp(`^${name.replaceAll(".", "\\.")}-((?:table|secret)-\\d{2})$`);
    for (const object of stores.ownedBy(uid ?? "", namespace ?? "default")) {
      const file = slice.exec(object.metadata.name)?.[1];
      if (file === undefined || files.has(`${file}.json`) || (object.kind !== "ConfigMap" && object.kind !== "Secret"))
        continue;
      const result = await applier.remove(object);
      if (!result.ok) return `${object.kind} ${object.metadata.name} could not be removed: ${result.failure.message}`;
    }
    return undefined;
  }

  /** Ask every pod, kick those that are behind, tell in status; gives the pause until the next look. */
  async #follow(key: string, carried: Carried, signal: AbortSignal): Promise<number> {
    const { stores, applier, ask = askPod } = this.#options;
    const { server } = carried.world;
    const selector = selectorOf(server);
    const pods = stores
      .list<Pod>("Pod", server.metadata.namespace)
      .filter((pod) => Object.entries(selector).every(([name, value]) => pod.metadata.labels?.[name] === value));
    const answers = await Promise.all(pods.map((pod) => ask(pod, signal)));
    const nowMs = this.#now();
    this.#kicks.keepOnly(new Set(stores.list<Pod>("Pod").map((pod) => pod.metadata.uid ?? "")));
    for (const [index, pod] of pods.entries()) {
      const answer = answers[index];
      if (answer === undefined || pod.status?.podIP === undefined) continue;
      const value = this.#kicks.wanted(pod.metadata.uid ?? "", answer.hash, carried.hash, nowMs);
      if (value !== undefined) await applier.annotate(pod, { [KICK_ANNOTATION]: value });
    }
    const wantedPods = server.spec.replicas;
    const settled =
      answers.length === wantedPods && answers.every((answer) => answer.hash === carried.hash && answer.ready);
    const addresses = pods.flatMap(({ status }) => [status?.hostIP, status?.podIP]).filter((ip) => ip !== undefined);
    await this.#writeStatus(key, carried, answers, addresses);
    if (settled) {
      this.#behindSince.delete(key);
      return RESTING_MS;
    }
    // A newer set begins the wait anew.
    const since = Math.max(this.#behindSince.get(key) ?? nowMs, carried.atMs);
    this.#behindSince.set(key, since);
    return followPauses.find(([sinceMs]) => nowMs - since < sinceMs)?.[1] ?? RESTING_MS;
  }

  /** `addresses`: of the pods and their nodes. */
  async #writeStatus(
    key: string,
    carried: Carried,
    answers: readonly PodAnswer[],
    addresses: readonly string[],
  ): Promise<void> {
    const { server } = carried.world;
    const reports: PodReport[] = answers.map(({ name, hash, problem, rejected }) => ({
      name,
      hash,
      ...(rejected ? { rejected: problem } : { error: hash === undefined ? problem : undefined }),
    }));
    for (const object of objectsOf(carried.world)) {
      const observed = this.#options.stores.get<Statused>(object.kind, nameKey(object));
      const verdict = carried.desired.verdicts.get(objectKey(object));
      // Not of this build: it came a moment ago, and the next one will judge it.
      if (
        observed === undefined ||
        verdict === undefined ||
        observed.metadata.generation !== carried.generations.get(objectKey(object))
      )
        continue;
      const isServer = object.kind === "MailServer" && nameKey(object) === key;
      const previous = observed.status?.conditions ?? [];
      const conditions = conditionsOf({
        generation: observed.metadata.generation ?? 0,
        verdict,
        previous,
        desiredHash: carried.hash,
        pods: reports,
        sticky: !isServer,
        nowMs: this.#now(),
        ...(isServer
          ? { ...this.#serverNotReady(carried, answers), sourceAddress: sourceAddressOf(server, addresses) }
          : {}),
      });
      const status = {
        ...(isServer ? this.#serverStatus(key, carried, server, answers, observed) : {}),
        observedGeneration: observed.metadata.generation ?? 0,
        conditions,
      };
      await this.#tell(observed, previous, conditions, status);
    }
  }

  async #tell(
    observed: KubeObject,
    previous: readonly Condition[],
    conditions: readonly Condition[],
    status: object,
  ): Promise<void> {
    const result = await this.#options.applier.applyStatus(observed, status);
    if (result.ok && result.did === "written")
      this.#options.events.transitions(observed, previous, conditions, "Reconcile");
  }

  #serverNotReady(
    carried: Carried,
    answers: readonly PodAnswer[],
  ): {
    readonly notReady?: {
      readonly reason: "ApplyFailed" | "Pending";
      readonly message: string;
      readonly stalled: boolean;
    };
  } {
    if (carried.applyFailure !== undefined)
      return { notReady: { reason: "ApplyFailed", message: carried.applyFailure, stalled: true } };
    const wanted = carried.world.server.spec.replicas;
    const ready = answers.filter((answer) => answer.ready).length;
    if (ready >= wanted && answers.length === wanted) return {};
    const why = answers.find((answer) => !answer.ready)?.problem;
    return {
      notReady: {
        reason: "Pending",
        message: `${ready} of ${wanted} pods take mail${why === undefined ? "" : `; ${why}`}.`,
        stalled: false,
      },
    };
  }

  #serverStatus(
    key: string,
    carried: Carried,
    server: MailServer,
    answers: readonly PodAnswer[],
    observed: Statused,
  ): object {
    const nowMs = this.#now();
    const sum = (of: (queue: NonNullable<PodAnswer["queue"]>) => number): number =>
      answers.reduce((total, { queue }) => total + (queue === undefined ? 0 : of(queue)), 0);
    const fresh = {
      messages: sum((queue) => queue.messages),
      recipients: sum((queue) => queue.recipients),
      oldestSeconds: Math.max(0, ...answers.map(({ queue }) => queue?.oldestSeconds ?? 0)),
    };
    const before = observed.status?.queue as typeof fresh | undefined;
    const due = nowMs - (this.#totalsAt.get(key) ?? 0) >= TOTALS_MS;
    // An empty queue that stays empty is no news, a busy one is told of once a minute.
    const queue = before !== undefined && !due ? before : fresh;
    if (queue === fresh) this.#totalsAt.set(key, nowMs);
    return {
      replicas: answers.length,
      readyReplicas: answers.filter((answer) => answer.ready).length,
      selector: Object.entries(selectorOf(server))
        .map(([name, value]) => `${name}=${value}`)
        .join(","),
      configHash: carried.hash,
      queue,
      pods: answers.map(({ name, ready, hash, problem }) => ({
        name,
        ready,
        ...(hash === undefined ? {} : { configHash: hash }),
        ...(problem === undefined ? {} : { message: problem.slice(0, 1024) }),
      })),
    };
  }

  /** Tell those that no server answers for what to change. */
  async explainStrays(): Promise<void> {
    for (const { observed, verdict } of this.#world().strays) {
      const previous = (observed as Statused).status?.conditions ?? [];
      const generation = observed.metadata.generation ?? 0;
      const conditions = conditionsOf({
        generation,
        verdict,
        previous,
        desiredHash: "",
        pods: [],
        sticky: false,
        nowMs: this.#now(),
      });
      await this.#tell(observed, previous, conditions, { observedGeneration: generation, conditions });
    }
  }
}
