/**
 * The control socket from the caller's side: requests and their answers, a line at a time.
 *
 * One server is one `Connection`, whether its socket is here (this file) or behind `kubectl exec` (`cluster.ts`). Fails with `Unreachable` and a sentence
 * when no server listens, with the server's own sentence when it refuses, with "broken off" when it ends before its result.
 */
import { existsSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { CONTROL_SOCKET } from "../admin/socket.ts";
import type { Progress } from "../admin/tools.ts";

export type Line =
  | { readonly item: unknown }
  | { readonly progress: Progress }
  | { readonly result: unknown }
  | { readonly error: string };

export interface Connection {
  /** The pod, or "" for the server on this machine. */
  readonly where: string;
  /** Lines up to the result; an error is thrown. */
  ask(name: string, body: unknown): AsyncGenerator<Exclude<Line, { error: string }>, void>;
  /** Octets of a message; undefined when the server does not have it. */
  content(id: string): Promise<Readable | undefined>;
}

export class Unreachable extends Error {
  override readonly name = "Unreachable";
}

/** Where servers keep their data: the image, and the embedded mode. */
const usualFolders = (): readonly string[] => ["/var/lib/packetboat", resolve(import.meta.dirname, "../../.data")];

/** `--data`, else PACKETBOAT_DATA, else the first usual folder with a socket in it. */
export function dataFolder(given: string | undefined): string {
  const named = given ?? process.env["PACKETBOAT_DATA"];
  if (named !== undefined && named !== "") return resolve(named);
  const folders = usualFolders();
  return folders.find((folder) => existsSync(join(folder, CONTROL_SOCKET))) ?? folders[0] ?? "";
}

export function localConnection(data: string): Connection {
  const path = join(data, CONTROL_SOCKET);
  const post = (name: string, body: unknown): Promise<IncomingMessage> =>
    new Promise((settle, reject) => {
      const text = JSON.stringify(body);
      const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
      const outgoing = request({ socketPath: path, path: `/${name}`, method: "POST", headers }, settle);
      outgoing.once("error", (cause: NodeJS.ErrnoException) =>
        reject(
          new Unreachable(`no server answers at ${path} (${cause.code ?? cause.message}); name its folder with --data`),
        ),
      );
      outgoing.end(text);
    });
  return {
    where: "",
    async *ask(name, body) {
      yield* linesOf(await post(name, body));
    },
    async content(id) {
      const response = await post("content", { id });
      if (response.statusCode === 404) {
        response.resume();
        return undefined;
      }
      if (response.statusCode === 200) return response;
      for await (const _ of linesOf(response));
      throw new Error(`the server answered ${response.statusCode}`);
    },
  };
}

export async function* linesOf(stream: Readable): AsyncGenerator<Exclude<Line, { error: string }>, void> {
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => undefined);
  stream.once("error", () => broken.reject(new Error("the server broke off")));
  const lines = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([lines.next(), broken.promise]);
      if (next.done === true) throw new Error("the server broke off before its answer was complete");
      if (next.value === "") continue;
      const line = JSON.parse(next.value) as Line;
      if ("error" in line) throw new Error(line.error);
      yield line;
      if ("result" in line) return;
    }
  } finally {
    // Whoever stops early ends the work on the other side too.
    stream.destroy();
  }
}
