/**
 * The control socket: what may be asked and ordered by whoever may read the data folder, and by nobody over the network.
 *
 * A unix socket `<data>/control.sock` of mode 0600 in the primary process; the command line `packetboat` speaks to it. `POST /NAME` with a JSON body
 * answers lines of JSON: `{"item":…}` and `{"progress":…}` as they come, at the end `{"result":…}` or `{"error":"…"}`. `POST /content` answers octets.
 * A caller who goes away ends what it asked for. A folder where no socket can be made costs the tools, not the mail: it is logged.
 */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { z } from "zod";
import type { Log } from "../observe/log.ts";
import type { QueueSummary } from "../queue/queue.ts";
import { verbs } from "./shard-tools.ts";
import { CONTROL_SOCKET, type ServerInfo } from "./socket.ts";
import type { Step, Tools } from "./tools.ts";
import type { Verification } from "./verify.ts";

const MOST_BODY_BYTES = 1_048_576;
const MOST_IDS = 10_000;

export interface ControlSource {
  readonly tools: Tools;
  info(): ServerInfo;
  summary(): Promise<QueueSummary>;
  verify(question: { readonly address: string; readonly sender: string }): Promise<Verification>;
}

const id = z.string().regex(/^[0-9A-Za-z]{10,20}$/);
const state = z.enum(["active", "deferred", "hold"]);
const filter = z.strictObject({
  sender: z.string().max(512).optional(),
  recipient: z.string().max(512).optional(),
  domain: z.string().max(512).optional(),
  state: z.enum(["active", "deferred", "hold", "corrupt"]).optional(),
  receivedBeforeMs: z.number().optional(),
});
const requests = {
  info: z.strictObject({}),
  summary: z.strictObject({}),
  list: z.strictObject({ filter, limit: z.int().min(1) }),
  "act-on": z.strictObject({
    verb: z.enum(verbs),
    ids: z.array(id).max(MOST_IDS),
    domain: z.string().max(512).optional(),
  }),
  "act-on-all": z.strictObject({ verb: z.enum(verbs), filter }),
  flush: z.strictObject({}),
  shape: z.strictObject({ by: z.enum(["recipient", "sender"]), state: state.optional() }),
  trace: z.strictObject({ id }),
  verify: z.strictObject({ address: z.string().max(512), sender: z.string().max(512) }),
} as const;
type Name = keyof typeof requests;
type Work = AsyncGenerator<Step<unknown>, unknown>;

// Nothing on the way, only an end.
// oxlint-disable-next-line require-yield
async function* once(answer: () => unknown): Work {
  return await answer();
}

function begin(name: Name, body: unknown, source: ControlSource): Work {
  const { tools } = source;
  switch (name) {
    case "info":
      return once(() => source.info());
    case "summary":
      return once(() => source.summary());
    case "list": {
      const { filter: wanted, limit } = requests.list.parse(body);
      return tools.list(wanted, limit);
    }
    case "act-on": {
      const { verb, ids, domain } = requests["act-on"].parse(body);
      return tools.actOn(verb, ids, domain);
    }
    case "act-on-all": {
      const { verb, filter: wanted } = requests["act-on-all"].parse(body);
      return tools.actOnAll(verb, wanted);
    }
    case "flush":
      return once(() => tools.flush());
    case "shape": {
      const { by, state: wanted } = requests.shape.parse(body);
      return tools.shape({ by, state: wanted });
    }
    case "trace": {
      const { id: wanted } = requests.trace.parse(body);
      return once(async () => (await tools.trace(wanted)) ?? null);
    }
    case "verify": {
      const question = requests.verify.parse(body);
      return once(() => source.verify(question));
    }
  }
}

const isName = (name: string): name is Name => Object.hasOwn(requests, name);
const sentence = (cause: unknown): string =>
  cause instanceof z.ZodError
    ? (cause.issues[0]?.message ?? "not a valid request")
    : cause instanceof Error
      ? cause.message
      : String(cause);

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > MOST_BODY_BYTES) throw new Error("the request is too large");
    pieces.push(piece);
  }
  return size === 0 ? {} : (JSON.parse(Buffer.concat(pieces).toString("utf8")) as unknown);
}

/** Resolves when more may be written, to false when nobody reads any more. */
function written(response: ServerResponse, data: string | Buffer): Promise<boolean> {
  if (response.destroyed) return Promise.resolve(false);
  if (response.write(data)) return Promise.resolve(true);
  return new Promise((resolve) => {
    const settle = (): void => {
      response.off("drain", settle);
      response.off("close", settle);
      resolve(!response.destroyed);
    };
    response.once("drain", settle);
    response.once("close", settle);
  });
}

async function answer(request: IncomingMessage, response: ServerResponse, source: ControlSource): Promise<void> {
  const name = (request.url ?? "").slice(1);
  const line = (value: unknown): Promise<boolean> => written(response, `${JSON.stringify(value)}\n`);
  try {
    const body = await bodyOf(request);
    if (name === "content") {
      const { id: wanted } = requests.trace.parse(body);
      const there = await source.tools.content(wanted, (data) => written(response, data));
      if (!there) response.writeHead(404);
      response.end();
      return;
    }
    if (!isName(name)) {
      response.writeHead(404).end(`${JSON.stringify({ error: `this server knows no ${name}` })}\n`);
      return;
    }
    const work = begin(name, body, source);
    for (;;) {
      const step = await work.next();
      if (step.done === true) {
        await line({ result: step.value });
        break;
      }
      if (!(await line(step.value))) {
        await work.return(undefined);
        return;
      }
    }
    response.end();
  } catch (cause) {
    // Octets cannot be followed by a sentence: who reads them sees the connection break.
    if (name === "content" && response.headersSent) response.destroy();
    else {
      if (!response.headersSent) response.writeHead(400);
      response.end(`${JSON.stringify({ error: sentence(cause) })}\n`);
    }
  }
}

export interface Control {
  close(): Promise<void>;
}

export async function startControl(data: string, source: ControlSource, log: Log): Promise<Control> {
  const path = join(data, CONTROL_SOCKET);
  const server = createServer({ requestTimeout: 0, maxHeaderSize: 8192 }, (request, response) => {
    if (request.method !== "POST") {
      response.writeHead(405).end();
      return;
    }
    response.on("error", () => undefined);
    void answer(request, response, source);
  });
  // What a killed server has left; the data folder is locked, so nobody else's.
  rmSync(path, { force: true });
  const old = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
      // Bound by now: the mode was right from the first moment.
      process.umask(old);
    });
    chmodSync(path, 0o600);
  } catch (cause) {
    process.umask(old);
    log.warn({ path, reason: sentence(cause) }, "no control socket: the command line tools cannot reach this server");
  }
  return {
    close: async () => {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      rmSync(path, { force: true });
    },
  };
}
