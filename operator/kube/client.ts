/**
 * The verbs of the API on top of the transport: an object or a typed failure. Adds nothing but addresses and content types;
 * whether a write is needed or allowed is decided one floor up, in `apply.ts` and `lease.ts`.
 */
import { type ApiRequest, type ApiResult, type StreamLimits, Transport, type TransportOptions } from "./transport.ts";
import { type KubeObject, pathOf, type Resource } from "./types.ts";

export interface Page<T extends KubeObject> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
  /** Empty on the last page. */
  readonly continueToken: string;
}

export interface Selection {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

export interface ObjectName {
  readonly namespace?: string | undefined;
  readonly name: string;
}

export type PatchType = "application/apply-patch+yaml" | "application/merge-patch+json" | "application/json-patch+json";

export class KubeClient {
  readonly transport: Transport;

  constructor(options: TransportOptions) {
    this.transport = new Transport(options);
  }

  get<T extends KubeObject>(resource: Resource, at: ObjectName, options: CallOptions = {}): Promise<ApiResult<T>> {
    return this.transport.request<T>({
      method: "GET",
      path: pathOf(resource, at.namespace, at.name),
      ...timing(options),
    });
  }

  /** One page. Items of a list come without apiVersion and kind; they are put back, so an object always says what it is. */
  async list<T extends KubeObject>(
    resource: Resource,
    selection: Selection & { readonly limit?: number; readonly continueToken?: string },
    options: CallOptions = {},
  ): Promise<ApiResult<Page<T>>> {
    const result = await this.transport.request<{
      apiVersion?: string;
      metadata?: { resourceVersion?: string; continue?: string };
      items?: T[] | null;
    }>({
      method: "GET",
      path: pathOf(resource, selection.namespace),
      query: {
        labelSelector: selection.labelSelector,
        fieldSelector: selection.fieldSelector,
        limit: selection.limit,
        continue: selection.continueToken,
      },
      ...timing(options),
    });
    if (!result.ok) return result;
    const { apiVersion, metadata, items } = result.value;
    if (!metadata?.resourceVersion || !(Array.isArray(items) || items === null || items === undefined)) {
      return {
        ok: false,
        failure: {
          code: 0,
          reason: "MalformedReply",
          message: `the list of ${resource.plural} has no resourceVersion or items`,
        },
      };
    }
    const named = { apiVersion: apiVersion ?? "", kind: resource.kind };
    return {
      ok: true,
      value: {
        items: (items ?? []).map((item) => ({ ...named, ...item })),
        resourceVersion: metadata.resourceVersion,
        continueToken: metadata.continue ?? "",
      },
    };
  }

  /** The raw lines of a watch; `reflector.ts` gives them meaning. */
  watch(
    resource: Resource,
    selection: Selection & { readonly resourceVersion: string; readonly timeoutSeconds: number },
    limits: StreamLimits,
    options: CallOptions = {},
  ): Promise<ApiResult<AsyncGenerator<string, void, void>>> {
    return this.transport.stream(
      {
        method: "GET",
        path: pathOf(resource, selection.namespace),
        query: {
          watch: 1,
          allowWatchBookmarks: true,
          resourceVersion: selection.resourceVersion,
          timeoutSeconds: selection.timeoutSeconds,
          labelSelector: selection.labelSelector,
          fieldSelector: selection.fieldSelector,
        },
        ...timing(options),
      },
      limits,
    );
  }

  create<T extends KubeObject>(resource: Resource, object: T, options: CallOptions = {}): Promise<ApiResult<T>> {
    const path = pathOf(resource, object.metadata.namespace);
    return this.transport.request<T>({ method: "POST", path, body: object, ...timing(options) });
  }

  /** Whole object; with its resourceVersion the server refuses (409) if somebody was faster. */
  replace<T extends KubeObject>(resource: Resource, object: T, options: CallOptions = {}): Promise<ApiResult<T>> {
    const path = pathOf(resource, object.metadata.namespace, object.metadata.name);
    return this.transport.request<T>({ method: "PUT", path, body: object, ...timing(options) });
  }

  patch<T extends KubeObject>(
    resource: Resource,
    at: ObjectName,
    patch: {
      readonly type: PatchType;
      readonly body: unknown;
      readonly fieldManager: string;
      readonly force?: boolean;
      readonly subresource?: string;
    },
    options: CallOptions = {},
  ): Promise<ApiResult<T>> {
    return this.transport.request<T>({
      method: "PATCH",
      path: pathOf(resource, at.namespace, at.name, patch.subresource),
      query: { fieldManager: patch.fieldManager, force: patch.force },
      body: patch.body,
      contentType: patch.type,
      ...timing(options),
    });
  }

  delete(
    resource: Resource,
    at: ObjectName,
    preconditions: { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined },
    options: CallOptions = {},
  ): Promise<ApiResult<unknown>> {
    return this.transport.request({
      method: "DELETE",
      path: pathOf(resource, at.namespace, at.name),
      body: { apiVersion: "v1", kind: "DeleteOptions", propagationPolicy: "Background", preconditions },
      ...timing(options),
    });
  }

  /** Anything else, such as `/readyz`-style JSON endpoints or a subresource. */
  raw<T>(request: ApiRequest): Promise<ApiResult<T>> {
    return this.transport.request<T>(request);
  }

  close(): void {
    this.transport.close();
  }
}

function timing(options: CallOptions): Pick<ApiRequest, "signal" | "timeoutMs"> {
  return {
    ...(options.signal !== undefined && { signal: options.signal }),
    ...(options.timeoutMs !== undefined && { timeoutMs: options.timeoutMs }),
  };
}
