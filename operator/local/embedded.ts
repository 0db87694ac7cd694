/**
 * The embedded default: a folder of manifests, the operator's build and the server, without Kubernetes. Run by main.ts.
 *
 * Folder of manifests → build/ → <data>/config → server (a child process). Promises: a change of the folder is live within a second; a folder that cannot be used is
 * explained and changes nothing; a stop lets the server finish what runs and ends with 0. Ends with 1 and a sentence where it cannot start.
 */
import { relative, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ADMIN_PORT } from "../build/ports.ts";
import { runningConfig, whyNotReady } from "./admin-client.ts";
import { ownFolder } from "./folder-lock.ts";
import { explainTaken, takenAmong } from "./free-ports.ts";
import type { LocalOptions } from "./options.ts";
import { readyText } from "./ready-text.ts";
import { type Built, buildManifests, configFolder, writeBuilt } from "./render.ts";
import { ServerLog } from "./server-log.ts";
import { ServerProcess } from "./server-process.ts";
import { submitterOf } from "./submitter.ts";
import { watchFolder } from "./watch-folder.ts";
import { isManifest, type RememberedFiles } from "./yaml-folder.ts";

/** Loopback only: what runs on a person's machine is nobody else's business. */
const HOSTS = ["127.0.0.1", "::1"] as const;
const LOOK_EVERY_MS = 50;
const SAY_WAITING_AFTER_MS = 15_000;
const LIVE_WITHIN_MS = 10_000;

export interface Surroundings {
  readonly serverScript: string;
  /** Paths are told relative to it where that is shorter. */
  readonly startedIn: string;
  /** Standard output and standard error of the person who started us. */
  readonly say: (text: string) => void;
  readonly complain: (text: string) => void;
  readonly stop: AbortSignal;
}

export async function runEmbedded(options: LocalOptions, around: Surroundings): Promise<number> {
  const held = ownFolder(options.data);
  if (typeof held === "string") {
    around.complain(held);
    return 1;
  }
  try {
    return await new Embedded(options, around).run();
  } finally {
    held.release();
  }
}

class Embedded {
  readonly #options: LocalOptions;
  readonly #around: Surroundings;
  readonly #adminPort: number;
  readonly #logPath: string;
  readonly #remembered: RememberedFiles = new Map();
  /** The one on disk. */
  #last: Built | undefined;
  #lastTold: string | undefined;
  #recheck: NodeJS.Timeout | undefined;
  #rendering: Promise<void> = Promise.resolve();
  #telling: Promise<void> = Promise.resolve();
  readonly #ended = new AbortController();

  constructor(options: LocalOptions, around: Surroundings) {
    this.#options = options;
    this.#around = around;
    this.#adminPort = ADMIN_PORT + options.offset;
    this.#logPath = resolve(options.data, "server.log");
  }

  async run(): Promise<number> {
    const { offset, manifests } = this.#options;
    const { complain, say, stop } = this.#around;
    const first = await buildManifests({ ...this.#options, running: false, remembered: this.#remembered });
    if (first.kind === "refused") {
      complain(first.explanation);
      return 1;
    }
    const listeners = first.desired.config.server.listeners.map(({ port }) => port + offset);
    const taken = await takenAmong(HOSTS, [...listeners, this.#adminPort]);
    if (taken.length > 0) {
      complain(explainTaken(taken, offset));
      return 1;
    }
    await this.#take(first);

    const log = new ServerLog(this.#logPath, complain);
    const over = Promise.withResolvers<number>();
    const server = this.#server(log, over.resolve);
    const killed = (): void => server.kill();
    process.on("exit", killed);
    const watch = await watchFolder(manifests, isManifest, () => this.#renderSoon());
    // Something may have changed between the first rendering and the watch.
    this.#renderSoon();
    server.start();
    const ready = this.#tellWhenReady(first, server);
    if (stop.aborted) over.resolve(0);
    stop.addEventListener("abort", () => over.resolve(0), { once: true });

    const code = await over.promise;
    if (code === 0) say("Ending: the server finishes what runs. Queued mail stays and goes on at the next start.");
    this.#ended.abort();
    clearTimeout(this.#recheck);
    watch.stop();
    await Promise.all([server.stop(), ready, this.#rendering, this.#telling]);
    process.off("exit", killed);
    log.close();
    if (code === 0) say("Packetboat has ended.");
    return code;
  }

  #server(log: ServerLog, end: (code: number) => void): ServerProcess {
    const { data, offset } = this.#options;
    const { complain, serverScript } = this.#around;
    const places = ["--config", configFolder(data), "--data", data];
    const ports = ["--listen", HOSTS.join(","), "--port-offset", `${offset}`, "--admin-port", `${this.#adminPort}`];
    return new ServerProcess(
      { node: process.execPath, script: serverScript, args: [...places, ...ports], env: process.env },
      {
        log: (chunk) => log.write(chunk),
        say: complain,
        gaveUp: (sentence) => {
          complain(`${sentence} Its log: ${this.#typed(log.path)}`);
          end(1);
        },
      },
    );
  }

  /** As short as it can be typed from where the person is. */
  #typed(path: string): string {
    const near = relative(this.#around.startedIn, path);
    return near === "" ? "." : near.startsWith("..") ? path : near;
  }

  /** Says how to use it once it takes mail; until then, why it does not. */
  async #tellWhenReady({ world, desired }: Built, server: ServerProcess): Promise<void> {
    const startedMs = Date.now();
    const { offset, data, manifests } = this.#options;
    let told: string | undefined;
    while (!this.#ended.signal.aborted) {
      const reason = await whyNotReady(this.#adminPort);
      if (reason === undefined) {
        server.served();
        const folders = { dataFolder: this.#typed(data), manifestsFolder: this.#typed(manifests) };
        const submitter = submitterOf(world, desired.config);
        const text = readyText(desired.config, { offset, ...folders, logFile: this.#typed(this.#logPath), submitter });
        if (!this.#ended.signal.aborted) this.#around.say(text);
        return;
      }
      if (reason !== told && Date.now() - startedMs > SAY_WAITING_AFTER_MS) {
        told = reason;
        this.#around.complain(`Not ready yet: ${reason}. Its log: ${this.#typed(this.#logPath)}`);
      }
      await sleep(LOOK_EVERY_MS);
    }
  }

  /** One rendering at a time; whatever goes wrong in one, the next change is rendered again. */
  #renderSoon(): void {
    this.#rendering = this.#rendering
      .then(() => this.#render())
      .catch((cause: unknown) => {
        this.#around.complain(
          `The manifests could not be rendered: ${cause instanceof Error ? cause.message : String(cause)}`,
        );
      });
  }

  async #render(): Promise<void> {
    if (this.#ended.signal.aborted) return;
    const startedMs = Date.now();
    const certificates = this.#last?.desired.config.secrets.certificates ?? {};
    const next = await buildManifests({
      ...this.#options,
      running: true,
      remembered: this.#remembered,
      lastGoodCertificates: new Map(Object.entries(certificates)),
    });
    if (next.kind === "refused") {
      if (next.explanation !== this.#lastTold) this.#around.complain(next.explanation);
      this.#lastTold = next.explanation;
      return;
    }
    // Told beside the next rendering, not before it: a second change must not wait for the first one to be live.
    if (await this.#take(next)) this.#telling = this.#tellWhenLive(next.hash, startedMs);
  }

  /** Puts it on disk, for the server to take; true when that changed anything. */
  async #take(next: Built): Promise<boolean> {
    const written = await writeBuilt(this.#options.data, next);
    if (next.remarks !== undefined && next.remarks !== this.#lastTold) this.#around.complain(next.remarks);
    this.#lastTold = next.remarks;
    this.#last = next;
    clearTimeout(this.#recheck);
    const at = next.desired.recheckAtMs;
    // setTimeout's longest wait is 24.8 days; looking once too often does no harm.
    const waitMs = at === undefined ? undefined : Math.min(Math.max(at - Date.now(), 1000), 2_000_000_000);
    if (waitMs !== undefined) this.#recheck = setTimeout(() => this.#renderSoon(), waitMs);
    return written.length > 0;
  }

  async #tellWhenLive(hash: string, startedMs: number): Promise<void> {
    const { say, complain } = this.#around;
    let pending: string | undefined;
    const isOvertaken = (): boolean => this.#ended.signal.aborted || this.#last?.hash !== hash;
    while (!isOvertaken() && Date.now() - startedMs < LIVE_WITHIN_MS) {
      const running = await runningConfig(this.#adminPort);
      if (running.hash === hash) {
        say(`The changed manifests are live (configuration ${hash.slice(0, 12)}, ${Date.now() - startedMs} ms).`);
        return;
      }
      pending = running.pending;
      await sleep(LOOK_EVERY_MS);
    }
    if (isOvertaken()) return;
    const why = pending === undefined ? "" : `: ${pending}`;
    complain(
      `The changed manifests are written, but the server does not run them yet${why}. Its log: ${this.#typed(this.#logPath)}`,
    );
  }
}
