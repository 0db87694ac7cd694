/**
 * The only writer of the operator's objects: server-side apply as `packetboat-operator`, status, annotations on pods, deletion. Last step of a
 * reconcile, after `build` has said what is wanted.
 *
 * No write when nothing changed. Of each object it knows (a) the SHA-256 of what it last asked for, kept as an annotation on the object, so
 * that a restarted operator knows it too and a field we no longer want is taken away; (b) whether all of it is still there and still ours
 * (`difference.ts`), so that drift is healed; (c) what the server answered to the last write, so that a store which lags behind, or a
 * server that insists on another spelling, causes no second write. Fails as a value: `NotLeader` when the lease is not held at that
 * moment, `NotOurs` for an object somebody else made under our name, otherwise the server's words.
 *
 * Apply is forced: the fields we render are ours, and a person who edits one is answered by its return. Status is a merge patch of the difference
 * alone: it converges whoever wrote there before, and an apply of status would leave foreign fields in place for ever.
 */
import { canonicalJson, sha256 } from "../../server/config/canonical.ts";
import type { KubeClient } from "./client.ts";
import { type Clock, systemClock } from "./clock.ts";
import { firstDifference, isApplyOf } from "./difference.ts";
import type { Leadership } from "./lease.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { Reflector } from "./reflector.ts";
import { type ApiFailure, type ApiResult, failed } from "./transport.ts";
import { type KubeObject, keyOf, type Manifest, type Resource, resourceOf } from "./types.ts";

export const fieldManager = "packetboat-operator";
export const statusFieldManager = "packetboat-operator-status";
export const appliedHashAnnotation = "mail.packetboat.io/applied-hash";

export type WriteResult =
  | { readonly ok: true; readonly did: "written" | "unchanged" | "terminating" | "gone" }
  | { readonly ok: false; readonly failure: ApiFailure };

export interface ApplierOptions {
  readonly client: KubeClient;
  readonly leadership: Leadership;
  readonly log: Log;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock;
}

interface Written {
  readonly hash: string;
  /** resourceVersion in the store when we wrote; a store that still says so has not heard of the write. */
  readonly before: string | undefined;
  readonly after: string | undefined;
  readonly at: number;
}

/** Watches deliver within milliseconds; a store that has not moved for this long has no news of our write to come. */
const lagMs = 10_000;

export class Applier {
  readonly #options: ApplierOptions;
  readonly #clock: Clock;
  readonly #written = new Map<string, Written>();

  constructor(options: ApplierOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** An object that vanishes from this store is forgotten here, so that it is made again at once. */
  follow(reflector: Reflector): void {
    const { kind } = reflector.resource;
    reflector.onChange((key) => {
      if (reflector.get(key) !== undefined) return;
      for (const part of ["", " status", " annotations"]) this.#written.delete(`${kind} ${key}${part}`);
    });
  }

  /** Makes the cluster's object contain `desired`; `observed` is what the store holds under its key. */
  async apply(desired: KubeObject | Manifest, observed: KubeObject | undefined): Promise<WriteResult> {
    const resource = mustKnow(desired);
    if (observed?.metadata.deletionTimestamp !== undefined) return { ok: true, did: "terminating" };
    const hash = hashOf(desired);
    const memory = `${desired.kind} ${keyOf(desired)}`;
    if (this.#answered(memory, hash, observed)) return this.#spared(desired.kind);
    const body = withAnnotation(desired, hash);
    if (observed !== undefined) {
      if (!isOurs(desired, observed))
        return failed(0, "NotOurs", `${desired.kind} ${keyOf(desired)} exists and was not made by this operator`);
      const difference = firstDifference(body, observed, fieldManager);
      if (difference === undefined) return this.#spared(desired.kind);
      this.#options.log.debug({ kind: desired.kind, key: keyOf(desired), difference }, "apply");
    }
    return await this.#write(resource, "apply", memory, hash, observed, (signal) =>
      this.#options.client.patch<KubeObject>(
        resource,
        desired.metadata,
        { type: "application/apply-patch+yaml", body, fieldManager, force: true },
        { signal },
      ),
    );
  }

  /** Makes `status` of a custom resource equal to the given one. */
  async applyStatus(observed: KubeObject, status: object): Promise<WriteResult> {
    const resource = mustKnow(observed);
    const hash = hashOf(status);
    const memory = `${observed.kind} ${keyOf(observed)} status`;
    const difference = mergePatch(observed.status, status);
    if (difference === undefined || this.#answered(memory, hash, observed)) return this.#spared(observed.kind);
    return await this.#write(resource, "status", memory, hash, observed, (signal) =>
      this.#options.client.patch<KubeObject>(
        resource,
        observed.metadata,
        {
          type: "application/merge-patch+json",
          // The uid makes the server refuse if the object was deleted and made again meanwhile.
          body: { metadata: { uid: observed.metadata.uid }, status: difference },
          fieldManager: statusFieldManager,
          subresource: "status",
        },
        { signal },
      ),
    );
  }

  /** Sets annotations on an object that somebody else owns (the kick on a pod); null removes one. */
  async annotate(observed: KubeObject, annotations: Readonly<Record<string, string | null>>): Promise<WriteResult> {
    const resource = mustKnow(observed);
    const have = observed.metadata.annotations ?? {};
    const memory = `${observed.kind} ${keyOf(observed)} annotations`;
    const hash = hashOf(annotations);
    const same = Object.entries(annotations).every(([name, value]) => (have[name] ?? null) === value);
    if (same || this.#answered(memory, hash, observed)) return this.#spared(observed.kind);
    return await this.#write(resource, "annotate", memory, hash, observed, (signal) =>
      this.#options.client.patch<KubeObject>(
        resource,
        observed.metadata,
        {
          type: "application/merge-patch+json",
          body: { metadata: { uid: observed.metadata.uid, annotations } },
          fieldManager,
        },
        { signal },
      ),
    );
  }

  /** Deletes exactly this object (by uid), and with `unchanged` only in the state we saw. Already gone is fine. */
  async remove(observed: KubeObject, options: { readonly unchanged?: boolean } = {}): Promise<WriteResult> {
    const resource = mustKnow(observed);
    if (observed.metadata.deletionTimestamp !== undefined) return { ok: true, did: "terminating" };
    const { uid, resourceVersion } = observed.metadata;
    const memory = `${observed.kind} ${keyOf(observed)}`;
    const result = await this.#write(resource, "delete", undefined, "", observed, (signal) =>
      this.#options.client.delete(
        resource,
        observed.metadata,
        { uid, ...(options.unchanged && { resourceVersion }) },
        { signal },
      ),
    );
    if (result.ok) this.#written.delete(memory);
    return !result.ok && result.failure.code === 404 ? { ok: true, did: "gone" } : result;
  }

  async #write(
    resource: Resource,
    verb: string,
    memory: string | undefined,
    hash: string,
    observed: KubeObject | undefined,
    send: (signal: AbortSignal) => Promise<ApiResult<unknown>>,
  ): Promise<WriteResult> {
    const { leadership, metrics, log } = this.#options;
    if (!leadership.mayWrite()) return failed(0, "NotLeader", "this process may not write now");
    metrics?.apiWrites.inc({ kind: resource.kind, verb });
    const result = await send(leadership.signal);
    if (!result.ok) {
      log.info(
        { kind: resource.kind, verb, code: result.failure.code, reason: result.failure.reason },
        "write refused",
      );
      return result;
    }
    if (memory !== undefined) {
      const answer = result.value as Partial<KubeObject> | null;
      const after = answer?.metadata?.resourceVersion;
      this.#written.set(memory, { hash, before: observed?.metadata.resourceVersion, after, at: this.#clock.now() });
    }
    return { ok: true, did: "written" };
  }

  /** True when this very wish was written and the store shows the answer to it, or does not show it yet. */
  #answered(memory: string, hash: string, observed: KubeObject | undefined): boolean {
    const written = this.#written.get(memory);
    if (written === undefined) return false;
    const shown = observed?.metadata.resourceVersion;
    if (written.hash === hash && shown !== undefined && shown === written.after) return true;
    if (written.hash === hash && shown === written.before && this.#clock.now() - written.at < lagMs) return true;
    if (shown !== written.before) this.#written.delete(memory);
    return false;
  }

  #spared(kind: string): WriteResult {
    this.#options.metrics?.writesSpared.inc({ kind });
    return { ok: true, did: "unchanged" };
  }
}

function mustKnow(object: KubeObject): Resource {
  const resource = resourceOf(object);
  if (resource === undefined)
    throw new Error(`${object.apiVersion} ${object.kind} is not among the operator's resources`);
  return resource;
}

function hashOf(value: unknown): string {
  return sha256(canonicalJson(value));
}

function withAnnotation(desired: KubeObject, hash: string): KubeObject {
  const annotations = { ...desired.metadata.annotations, [appliedHashAnnotation]: hash };
  return { ...desired, metadata: { ...desired.metadata, annotations } };
}

/** Made by this operator, or already hanging on the same owner: only then may a forced apply take its fields. */
function isOurs(desired: KubeObject, observed: KubeObject): boolean {
  const { annotations, managedFields, ownerReferences } = observed.metadata;
  if (annotations?.[appliedHashAnnotation] !== undefined) return true;
  if (managedFields?.some((entry) => isApplyOf(entry, fieldManager))) return true;
  const owners = new Set(desired.metadata.ownerReferences?.map((owner) => owner.uid));
  return ownerReferences?.some((owner) => owners.has(owner.uid)) ?? false;
}

/** RFC 7396: the patch that turns `from` into `to`; undefined when they are equal. */
export function mergePatch(from: unknown, to: object): Record<string, unknown> | undefined {
  const have = isPlain(from) ? from : {};
  const want = to as Readonly<Record<string, unknown>>;
  const patch: Record<string, unknown> = {};
  for (const field of Object.keys(have)) {
    if (want[field] === undefined || want[field] === null) patch[field] = null;
  }
  for (const [field, value] of Object.entries(want)) {
    if (value === undefined || value === null) continue;
    const inner = isPlain(value) && isPlain(have[field]) ? mergePatch(have[field], value) : undefined;
    if (inner !== undefined) patch[field] = inner;
    else if (have[field] === undefined || canonicalJson(value) !== canonicalJson(have[field])) patch[field] = value;
  }
  return Object.keys(patch).length === 0 ? undefined : patch;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
