/**
 * Screening: one client of an MX listener, looked at before it may talk and while it begins to.
 *
 * Stands between the connection and the session's greeting. A client that has passed before, is trusted or permitted goes through at once; others wait for the end of the greeting
 * while DNS lists are asked, and who talks meanwhile has failed. What follows a failure is the postmaster's choice: ignore, enforce (every recipient is refused, so that the log
 * names helo, sender and recipient), drop. Tests after the greeting watch the real dialogue: nobody who passes them is sent away to come again. Holds a connection's place
 * while it waits and nothing else. What cannot be asked (shared state, DNS) refuses nobody. RFC 5321 §3.1 (wait for the greeting), §4.3.1; RFC 7504 (521).
 */
import type { PostscreenAction, PostscreenSettings } from "../config/postscreen.ts";
import type { Dns } from "../dns/resolver.ts";
import type { Log } from "../observe/log.ts";
import * as metrics from "../observe/metrics.ts";
import { isInNetworks } from "../policy/networks.ts";
import { type Reply, replyLine } from "../reply.ts";
import { replies } from "../session/replies.ts";
import type { Wire } from "../session/wire.ts";
import { bringsMessage, hear, isNoSmtpCommand } from "./dialogue-tests.ts";
import { type CachedTest, type Passed, PassedClients } from "./passed.ts";
import { type Score, scoreOf } from "./score.ts";

/** As the metric names them. */
type TestName = "access" | "pregreet" | "dnsbl" | "pipelining" | "command" | "newline";
type DeepTest = Extract<CachedTest, "pipelining" | "nonSmtpCommand" | "bareNewline">;

const deepTests = {
  pipelining: "pipelining",
  nonSmtpCommand: "command",
  bareNewline: "newline",
} as const satisfies Readonly<Record<DeepTest, TestName>>;

const REFUSED = 550;
const HANGING_UP = 521;
/** Of what an early talker said. */
const MOST_SHOWN = 100;
const none: Score = { sum: 0, lists: [] };

export interface ScreeningOptions {
  readonly settings: PostscreenSettings;
  readonly listener: string;
  readonly address: string;
  readonly trusted: boolean;
  readonly wire: Wire;
  readonly dns: Pick<Dns, "a">;
  readonly passed: PassedClients;
  readonly log: Log;
  /** How the greeting begins. */
  readonly greeting: Reply;
  /** What the client is told before it is cut off. */
  readonly cutOff: (reply: Reply) => void;
}

export class Screening {
  /** What every recipient of this client is answered. */
  refusal: Reply | undefined;
  /** A DNS list vouches for it. */
  isAllowlisted = false;
  readonly #options: ScreeningOptions;
  readonly #startedMs = Date.now();
  /** The wait before the greeting has ended, in whatever way. */
  readonly #over = Promise.withResolvers<void>();
  readonly #gone = Promise.withResolvers<undefined>();
  #isOver = false;
  #isWaiting = true;
  #early = Buffer.alloc(0);
  #passed: Passed = new Map();
  /** Tests after the greeting that are still to be passed. */
  readonly #pending = new Map<DeepTest, PostscreenAction>();
  #lastOctet: number | undefined;

  constructor(options: ScreeningOptions) {
    this.#options = options;
    options.wire.hear((octets, unanswered) => this.#heard(octets, unanswered));
  }

  /** PIPELINING and CHUNKING are not offered while it is tested whether the client waits for its turn. */
  get hidesPipelining(): boolean {
    return this.#pending.has("pipelining") || this.#pending.has("bareNewline");
  }

  /** A reply: what the client is told before it is cut off. */
  async beforeGreeting(): Promise<Reply | undefined> {
    const { settings, address, trusted } = this.#options;
    if (trusted) return this.#through("trusted");
    const access = settings.access.find((entry) => isInNetworks(networksOf(entry), address));
    if (access?.action === "Permit") return this.#through("permitted");
    if (access?.action === "Reject") {
      const dropped = this.#fail("access", settings.accessAction, replies.networkRejected, {});
      if (settings.accessAction !== "Ignore") return this.#ended("failed", dropped);
    }
    this.#passed = await this.#options.passed.of(address);
    const testsGreeting = !this.#passed.has("preGreet");
    const testsLists = settings.dnsbl.sites.length > 0 && !this.#passed.has("dnsbl");
    if (!testsGreeting && !testsLists) {
      this.#armDeepTests();
      this.#options.log.info({ result: "remembered" }, "postscreen");
      return this.#through("remembered");
    }
    return this.#wait(testsGreeting, testsLists);
  }

  async #wait(testsGreeting: boolean, testsLists: boolean): Promise<Reply | undefined> {
    const { settings, address, dns, wire, greeting } = this.#options;
    const { dnsbl } = settings;
    if (testsGreeting) wire.begin(greeting);
    const allows = ({ sum }: Score): boolean => dnsbl.allowlistThreshold < 0 && sum <= dnsbl.allowlistThreshold;
    const timer = setTimeout(() => this.#over.resolve(), testsGreeting ? settings.greetWaitMs : 0);
    const asking = testsLists ? scoreOf(dns, address, dnsbl) : Promise.resolve(none);
    // Nobody whom a list vouches for waits any longer.
    void asking.then((score) => (allows(score) ? this.#over.resolve() : undefined));
    await this.#over.promise;
    clearTimeout(timer);
    const isDropped = testsGreeting && this.#early.length > 0 && settings.greetAction === "Drop";
    const score = isDropped ? none : await Promise.race([asking, this.#gone.promise]);
    this.#isWaiting = false;
    if (this.#isOver || score === undefined) {
      this.#options.log.info({ result: "gone", after: this.#seconds() }, "postscreen");
      return this.#ended("gone", undefined);
    }
    if (allows(score)) {
      this.isAllowlisted = true;
      this.#options.log.info({ result: "allowlisted", score: score.sum, lists: score.lists }, "postscreen");
      metrics.postscreenTests.inc({ listener: this.#options.listener, test: "dnsbl", result: "pass" });
      await this.#remember(["preGreet", "dnsbl"]);
      return this.#through("allowlisted");
    }
    return this.#judge(testsGreeting, testsLists ? score : undefined);
  }

  async #judge(testsGreeting: boolean, score: Score | undefined): Promise<Reply | undefined> {
    const { settings, address, listener, log } = this.#options;
    const { dnsbl } = settings;
    const talked = testsGreeting && this.#early.length > 0;
    const isListed = score !== undefined && score.sum >= dnsbl.threshold;
    let dropped: Reply | undefined;
    if (talked) {
      const said = this.#early.subarray(0, MOST_SHOWN).toString("latin1");
      dropped = this.#fail("pregreet", settings.greetAction, replies.testFailed, { octets: this.#early.length, said });
    }
    if (isListed) {
      const told = (code: number): Reply => replies.clientListed(code, address, score.lists[0] ?? "a DNS list");
      dropped = this.#fail("dnsbl", dnsbl.action, told, { score: score.sum, lists: score.lists }) ?? dropped;
    }
    if (dropped !== undefined || this.refusal !== undefined) return this.#ended("failed", dropped);
    const passes: CachedTest[] = [
      ...(testsGreeting && !talked ? (["preGreet"] as const) : []),
      ...(score !== undefined && !isListed ? (["dnsbl"] as const) : []),
    ];
    for (const test of passes)
      metrics.postscreenTests.inc({ listener, test: test === "dnsbl" ? "dnsbl" : "pregreet", result: "pass" });
    if (passes.length > 0) {
      await this.#remember(passes);
      log.info(
        { result: "pass", tests: passes, score: score?.sum, lists: score?.lists, after: this.#seconds() },
        "postscreen",
      );
    }
    this.#armDeepTests();
    return this.#through("passed");
  }

  /** One command; a reply: what the client is told before it is cut off. */
  command(line: string): Reply | undefined {
    const action = this.#pending.get("nonSmtpCommand");
    if (action === undefined || !isNoSmtpCommand(line)) return undefined;
    return this.#failDeep("nonSmtpCommand", action, replies.testFailedByCommand, { said: line.slice(0, MOST_SHOWN) });
  }

  /** A message was taken from it: whatever was to be seen after the greeting has been seen. */
  async delivered(): Promise<void> {
    const tests = [...this.#pending.keys()];
    this.#pending.clear();
    if (tests.length === 0 || this.refusal !== undefined) return;
    for (const test of tests)
      metrics.postscreenTests.inc({ listener: this.#options.listener, test: deepTests[test], result: "pass" });
    this.#options.log.info({ result: "pass", tests }, "postscreen");
    await this.#remember(tests);
  }

  /** The connection is over, or about to be: nobody waits any longer. */
  end(): void {
    this.#pending.clear();
    this.#isOver = true;
    this.#gone.resolve(undefined);
    this.#over.resolve();
  }

  #heard(octets: Buffer, unanswered: boolean): void {
    if (this.#isWaiting) {
      if (this.#early.length < MOST_SHOWN) this.#early = Buffer.concat([this.#early, octets.subarray(0, MOST_SHOWN)]);
      this.#over.resolve();
    }
    if (this.#pending.size === 0) return;
    // The message behind BDAT may come with it, offered or not (RFC 3030 §2): from here on it cannot be told whether the client waits.
    if (bringsMessage(octets)) return this.#pending.clear();
    const { bareNewline, goesOn } = hear(octets, this.#lastOctet);
    this.#lastOctet = octets.at(-1);
    const said = octets.subarray(0, MOST_SHOWN).toString("latin1");
    const newline = this.#pending.get("bareNewline");
    const pipelining = this.#pending.get("pipelining");
    let dropped: Reply | undefined;
    if (newline !== undefined && bareNewline)
      dropped = this.#failDeep("bareNewline", newline, replies.testFailed, { said });
    if (pipelining !== undefined && (goesOn || unanswered))
      dropped ??= this.#failDeep("pipelining", pipelining, replies.testFailed, { said });
    if (dropped !== undefined) this.#options.cutOff(dropped);
  }

  #failDeep(
    test: DeepTest,
    action: PostscreenAction,
    reply: (code: number) => Reply,
    seen: Readonly<Record<string, unknown>>,
  ): Reply | undefined {
    this.#pending.delete(test);
    return this.#fail(deepTests[test], action, reply, seen);
  }

  /** The first refusal holds. */
  #fail(
    test: TestName,
    action: PostscreenAction,
    reply: (code: number) => Reply,
    seen: Readonly<Record<string, unknown>>,
  ): Reply | undefined {
    const { listener, log } = this.#options;
    const result = ({ Ignore: "ignore", Enforce: "enforce", Drop: "drop" } as const)[action];
    metrics.postscreenTests.inc({ listener, test, result });
    const told = action === "Drop" ? reply(HANGING_UP) : action === "Enforce" ? reply(REFUSED) : undefined;
    log.info(
      {
        result: "fail",
        test,
        action: result,
        after: this.#seconds(),
        ...seen,
        reply: told === undefined ? undefined : replyLine(told),
      },
      "postscreen",
    );
    if (action === "Enforce") this.refusal ??= told;
    return action === "Drop" ? told : undefined;
  }

  #armDeepTests(): void {
    for (const test of Object.keys(deepTests) as DeepTest[]) {
      const action = this.#options.settings.deepTests[test];
      if (action !== undefined && !this.#passed.has(test)) this.#pending.set(test, action);
    }
  }

  async #remember(tests: readonly CachedTest[]): Promise<void> {
    const { passed, address, settings } = this.#options;
    this.#passed = await passed.add(address, this.#passed, tests, settings.cacheMs);
  }

  #through(result: "trusted" | "permitted" | "remembered" | "allowlisted" | "passed"): undefined {
    this.#ended(result, undefined);
  }

  #ended(result: string, dropped: Reply | undefined): Reply | undefined {
    this.#isWaiting = false;
    metrics.postscreenClients.inc({ listener: this.#options.listener, result });
    return dropped;
  }

  #seconds(): number {
    return (Date.now() - this.#startedMs) / 1000;
  }
}

/** Lists of networks are compiled once and kept by identity. */
const networks = new WeakMap<object, readonly string[]>();

function networksOf(entry: PostscreenSettings["access"][number]): readonly string[] {
  const list = networks.get(entry) ?? [entry.network];
  networks.set(entry, list);
  return list;
}
