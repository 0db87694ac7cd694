/**
 * A MailServer in a cluster: each of its pods as a connection through `kubectl exec`.
 *
 * Inside the pod runs `packetboat control NAME`, which hands the control socket's lines through, so that one server and thirty are spoken to in the same
 * words. kubectl is started with a list of arguments, never through a shell; what it says on standard error becomes the failure's sentence.
 */
import { type ChildProcessByStdio, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { PassThrough, type Readable, type Writable } from "node:stream";
import { promisify } from "node:util";
import { type Connection, linesOf, Unreachable } from "./control-client.ts";

export interface ClusterOptions {
  readonly namespace: string;
  /** Name of the MailServer, which is that of its StatefulSet. */
  readonly server: string;
  readonly pod?: string | undefined;
  readonly context?: string | undefined;
}

const CONTAINER = "mta";
const MOST_COMPLAINT = 4096;
const execute = promisify(execFile);

/** In front of every kubectl command. */
export const kubectlArguments = ({ context, namespace }: ClusterOptions): readonly string[] => [
  ...(context === undefined ? [] : [`--context=${context}`]),
  `--namespace=${namespace}`,
];

async function kubectlJson(options: ClusterOptions, ...parameters: string[]): Promise<unknown> {
  try {
    const { stdout } = await execute("kubectl", [...kubectlArguments(options), ...parameters, "-o", "json"], {
      maxBuffer: 64 * 1024 * 1024,
    });
    return JSON.parse(stdout) as unknown;
  } catch (cause) {
    throw kubectlTrouble(cause);
  }
}

function kubectlTrouble(cause: unknown): Unreachable {
  const { code, stderr } = cause as { code?: string; stderr?: string };
  if (code === "ENOENT") return new Unreachable("kubectl is not installed, or not in the PATH");
  return new Unreachable(`kubectl: ${stderr?.trim().slice(0, MOST_COMPLAINT) ?? String(cause)}`);
}

/** Names of the pods, in order. */
export async function podsOf(options: ClusterOptions): Promise<readonly string[]> {
  if (options.pod !== undefined) return [options.pod];
  const set = (await kubectlJson(options, "get", "statefulset", options.server)) as {
    readonly spec: { readonly selector: { readonly matchLabels: Readonly<Record<string, string>> } };
  };
  const selector = Object.entries(set.spec.selector.matchLabels)
    .map(([label, value]) => `${label}=${value}`)
    .join(",");
  const pods = (await kubectlJson(options, "get", "pods", "-l", selector)) as {
    readonly items: readonly { readonly metadata: { readonly name: string } }[];
  };
  const names = pods.items.map(({ metadata }) => metadata.name);
  if (names.length === 0) throw new Unreachable(`the MailServer ${options.namespace}/${options.server} has no pod`);
  return names.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}

interface Execution {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  /** Exit code and what it complained of. */
  readonly ended: Promise<{ readonly code: number | null; readonly complaint: string }>;
}

function start(parameters: readonly string[], input: string): Execution {
  const child = spawn("kubectl", parameters, { stdio: ["pipe", "pipe", "pipe"] });
  let complaint = "";
  child.stderr.on("data", (data: Buffer) => {
    if (complaint.length < MOST_COMPLAINT) complaint += data.toString();
  });
  // A pod that is gone closes its input; the exit code says so.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const ended = new Promise<{ code: number | null; complaint: string }>((resolve) => {
    child.once("error", (cause) => resolve({ code: 127, complaint: kubectlTrouble(cause).message }));
    child.once("close", (code) => resolve({ code, complaint: complaint.trim() }));
  });
  return { child, ended };
}

export function podConnection(options: ClusterOptions, pod: string): Connection {
  const inPod = (name: string, body: unknown): Execution =>
    start(
      [...kubectlArguments(options), "exec", "-i", pod, "-c", CONTAINER, "--", "packetboat", "control", name],
      `${JSON.stringify(body)}\n`,
    );
  return {
    where: pod,
    async *ask(name, body) {
      const { child, ended } = inPod(name, body);
      try {
        yield* linesOf(child.stdout);
      } catch (cause) {
        const { code, complaint } = await ended;
        throw code === 0 || complaint === "" ? cause : new Unreachable(`${pod}: ${complaint}`);
      } finally {
        child.kill();
      }
    },
    async content(id) {
      const { child, ended } = inPod("content", { id });
      // Node throws away what nobody has read when a child exits: it is taken over at once.
      const octets = child.stdout.pipe(new PassThrough());
      await once(octets, "readable");
      if (octets.readableLength > 0) return octets;
      const { code, complaint } = await ended;
      // EX_NOINPUT: the server there does not have it.
      if (code === 66) return undefined;
      throw new Unreachable(`${pod}: ${complaint === "" ? `ended with ${code}` : complaint}`);
    },
  };
}

/** The pod's log, line by line; it may be long, so that it is streamed. */
export function podLog(options: ClusterOptions, pod: string): Readable {
  const { stdout } = start([...kubectlArguments(options), "logs", pod, "-c", CONTAINER], "").child;
  return stdout.pipe(new PassThrough());
}
