/**
 * Lock: one `up`, `down` or image build at a time on this machine, however many test processes ask.
 * The lock is a socket in Linux's abstract namespace: only one process can have it, and it is gone with its process, however that ends.
 * Fails when another process holds it beyond the time limit.
 */
import { createServer, type Server } from "node:net";
import { stateDirectory } from "./layout.ts";
import { say, until } from "./progress.ts";

const limitMs = 40 * 60_000;
let earlier: Promise<unknown> = Promise.resolve();

/** Runs the work while no other work runs, in this process or another. Not for nesting: work that asks for the lock again waits for itself. */
export function locked<Result>(work: () => Promise<Result>): Promise<Result> {
  const mine = earlier.then(async () => {
    const lock = await take();
    try {
      return await work();
    } finally {
      lock.close();
    }
  });
  earlier = mine.catch(() => undefined);
  return mine;
}

async function take(): Promise<Server> {
  let lock = await tryToTake();
  if (lock) return lock;
  say("waiting for another process to finish its work on the cluster");
  await until("the lock on the cluster", limitMs, async () => {
    lock = await tryToTake();
    return lock !== undefined;
  });
  if (lock === undefined) throw new Error("unreachable: waited for the lock and did not get it");
  return lock;
}

function tryToTake(): Promise<Server | undefined> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "EADDRINUSE" ? resolve(undefined) : reject(error),
    );
    server.listen({ path: `\0packetboat-e2e:${stateDirectory}` }, () => resolve(server));
  });
}
