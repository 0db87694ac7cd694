/**
 * The stage every story plays on: one cluster, the chart installed, the quickstart applied. Idempotent: a story asks for what it needs and starts wherever it is.
 *
 * Speaks through kubectl and helm as a person would. Objects of a story carry its own names and are deleted by it.
 */
import { resolve } from "node:path";
import { type Cluster, ensureCluster, isWrite } from "../cluster/cluster.ts";
import { IMAGE } from "../image.ts";
import { until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";

export const root = resolve(import.meta.dirname, "../..");
export const SYSTEM = "packetboat-system";
export const OPERATOR = "packetboat-operator";

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

export interface Thing {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly generation?: number;
    readonly resourceVersion: string;
  };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly podIP?: string;
    readonly observedGeneration?: number;
    readonly [field: string]: unknown;
  };
  readonly spec?: { readonly clusterIP?: string; readonly [field: string]: unknown };
  readonly data?: Readonly<Record<string, string>>;
}

export class Stage {
  readonly cluster: Cluster;
  private constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  /** Cluster up, chart installed, quickstart applied and Ready. */
  static async set(): Promise<Stage> {
    const stage = new Stage(await ensureCluster());
    await stage.install();
    await stage.kubectl("apply", "-f", resolve(root, "examples/quickstart"));
    await stage.ready("mailserver/mx", 180_000);
    return stage;
  }

  async install(): Promise<void> {
    const [repository, tag] = (process.env["PACKETBOAT_IMAGE"] ?? `${IMAGE.repository}:${IMAGE.tag}`).split(
      /:(?=[^:/]*$)/,
    );
    const own = process.env["PACKETBOAT_IMAGE"] === undefined;
    const parameters = [
      "upgrade",
      "--install",
      "packetboat",
      resolve(root, "charts/packetboat"),
      "-n",
      SYSTEM,
      "--create-namespace",
      "--wait",
      "--timeout",
      "180s",
    ];
    await this.cluster.helm([
      ...parameters,
      "--set",
      `image.repository=${repository}`,
      "--set",
      `image.tag=${tag}`,
      ...(own ? ["--set", "image.pullPolicy=Never"] : []),
      "--set",
      "test.server=mx,test.namespace=default,test.to=alice@example.org",
    ]);
  }

  kubectl(...parameters: string[]): Promise<string> {
    return this.cluster.kubectl(parameters);
  }

  apply(yaml: string): Promise<string> {
    return this.cluster.kubectl(["apply", "-f", "-"], { input: yaml });
  }

  async get(what: string, namespace = "default"): Promise<Thing> {
    return JSON.parse(await this.kubectl("get", what, "-n", namespace, "-o", "json")) as Thing;
  }

  async list(what: string, ...parameters: string[]): Promise<Thing[]> {
    return (JSON.parse(await this.kubectl("get", what, ...parameters, "-o", "json")) as { items: Thing[] }).items;
  }

  async condition(what: string, type: string): Promise<Condition | undefined> {
    const thing = await this.get(what);
    if (thing.status?.observedGeneration !== thing.metadata.generation) return undefined;
    return thing.status?.conditions?.find((condition) => condition.type === type);
  }

  async ready(what: string, timeoutMs = 60_000): Promise<void> {
    let last: Condition | undefined;
    await until(`${what} to be Ready`, timeoutMs, async () => {
      last = await this.condition(what, "Ready");
      return last?.status === "True";
    }).catch((cause: unknown) => {
      throw new Error(`${what} is not Ready: ${JSON.stringify(last)}`, { cause });
    });
  }

  /** Where a client reaches the fleet. */
  async service(name = "mx"): Promise<string> {
    return (await this.get(`service/${name}`)).spec?.clusterIP ?? "";
  }

  /** A greeted session with the fleet through its Service. */
  async session(port = 25, name = "mx"): Promise<SmtpDialogue> {
    const client = await SmtpDialogue.open(port, { host: await this.service(name) });
    await client.reply();
    await client.command("EHLO client.example.net");
    return client;
  }

  async pods(name = "mx"): Promise<Thing[]> {
    return this.list("pods", "-l", `app.kubernetes.io/instance=${name},app.kubernetes.io/component=mta`);
  }

  /** The admin port of the fleet's first pod. */
  async admin(path: string, pod?: Thing): Promise<Response> {
    const address = (pod ?? (await this.pods())[0])?.status?.podIP ?? "";
    return fetch(`http://${address}:9125${path}`, {
      // A server that is started anew ends connections that were kept.
      headers: { connection: "close" },
      signal: AbortSignal.timeout(5000),
    });
  }

  /** API writes of the operator since a moment, Leases aside. */
  operatorWrites(since: Date): string[] {
    return this.cluster
      .auditEvents(since)
      .filter(
        (event) =>
          isWrite(event) &&
          event.user?.username?.startsWith(`system:serviceaccount:${SYSTEM}:`) === true &&
          event.objectRef?.resource !== "leases",
      )
      .map(
        (event) =>
          `${event.verb} ${event.objectRef?.resource} ${event.objectRef?.namespace}/${event.objectRef?.name} ${event.objectRef?.subresource ?? ""}`,
      );
  }
}

export { object } from "../integration/manifests.ts";
