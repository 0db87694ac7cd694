/**
 * RedisRemote: the Remote in a Redis-compatible server (Redis, Valkey, KeyDB; protocol RESP2, scripts, one key a script).
 *
 * What must be one step is a script; times are the server's own, so that clocks of pods need not agree. Places of a key are a hash: pod → "count end"; a pod whose end has
 * passed is thrown out by the next that looks. The connection comes back by itself; while it is away every question fails at once, nothing is queued. Errors carry no URL.
 */
import { createHash } from "node:crypto";
import { createClient, ErrorReply } from "@redis/client";
import type { SharedStateEndpoint } from "../config/limits.ts";
import { LEASE_MS, type Remote } from "./remote.ts";

interface Script {
  readonly text: string;
  readonly sha: string;
}
const script = (text: string): Script => ({ text, sha: createHash("sha1").update(text).digest("hex") });

/** amount, window */
const add = script(`
local amount = tonumber(ARGV[1])
if amount == 0 then return tonumber(redis.call('GET', KEYS[1]) or '0') end
local total = redis.call('INCRBY', KEYS[1], amount)
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return total`);

/** pod, own, limit (-1: whatever the others hold), lease */
const hold = script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local own, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
if limit >= 0 then
  local sum = own
  local held = redis.call('HGETALL', KEYS[1])
  for i = 1, #held, 2 do
    if held[i] ~= ARGV[1] then
      local count, ends = string.match(held[i + 1], '^(%d+) (%d+)$')
      if ends and tonumber(ends) > now then sum = sum + tonumber(count)
      else redis.call('HDEL', KEYS[1], held[i]) end
    end
  end
  if sum > limit then return 0 end
end
if own == 0 then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %.0f', own, now + tonumber(ARGV[4]))) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1`);

const CONNECT_MS = 2000;
const LONGEST_PAUSE_MS = 1000;
/** More under way than this, and it is not answering. */
const MOST_UNDER_WAY = 5000;
/** Longer than this nothing is kept. */
const MOST_MS = 35 * 86_400_000;

const lifetime = (ms: number): string => String(Math.min(Math.max(1, Math.round(ms)), MOST_MS));

function clientOf({ url, username, password, authority }: SharedStateEndpoint) {
  // Taken apart here: the library's own errors would repeat it.
  const parsed = new URL(url);
  const said = (text: string): string | undefined => (text === "" ? undefined : decodeURIComponent(text));
  const [user, secret] = [username ?? said(parsed.username), password ?? said(parsed.password)];
  const database = /^\/(\d{1,5})$/.exec(parsed.pathname)?.[1];
  const socket = {
    host: parsed.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: parsed.port === "" ? 6379 : Number(parsed.port),
    connectTimeout: CONNECT_MS,
    reconnectStrategy: (tries: number) => Math.min(50 * 2 ** Math.min(tries, 10), LONGEST_PAUSE_MS),
  };
  const isSecure = parsed.protocol === "rediss:";
  return createClient({
    RESP: 2,
    ...(user === undefined ? {} : { username: user }),
    ...(secret === undefined ? {} : { password: secret }),
    ...(database === undefined ? {} : { database: Number(database) }),
    socket: isSecure ? { ...socket, tls: true, ...(authority === undefined ? {} : { ca: authority }) } : socket,
    disableOfflineQueue: true,
    commandsQueueMaxLength: MOST_UNDER_WAY,
    disableClientInfo: true,
    maintNotifications: "disabled",
  });
}

export class RedisRemote implements Remote {
  readonly #endpoint: SharedStateEndpoint;
  readonly #prefix: string;
  readonly #pod: string;
  #client: ReturnType<typeof clientOf>;
  /** Why it is not connected. */
  #trouble: Error | undefined;
  #closed = false;

  /** `server`: the MailServer's `namespace/name`, in front of every key; `pod`: what no other pod, and no earlier life of this one, is called. */
  constructor(endpoint: SharedStateEndpoint, server: string, pod: string) {
    this.#endpoint = endpoint;
    this.#prefix = `packetboat:${server}:`;
    this.#pod = pod;
    this.#client = this.#connect();
  }

  #connect(): ReturnType<typeof clientOf> {
    const client = clientOf(this.#endpoint);
    // Said where questions fail; an event nobody listens to would end the process.
    const keep = (error: unknown): void => {
      this.#trouble = error instanceof Error ? error : new Error("unknown");
    };
    client.on("error", keep);
    client.on("ready", () => (this.#trouble = undefined));
    client.connect().catch(keep);
    return client;
  }

  async #run({ text, sha }: Script, key: string, ...values: readonly string[]): Promise<number> {
    const rest = ["1", this.#prefix + key, ...values];
    try {
      return Number(await this.#client.sendCommand(["EVALSHA", sha, ...rest]));
    } catch (error) {
      // The server has been started anew, or never met us.
      if (!(error instanceof ErrorReply) || !error.message.startsWith("NOSCRIPT")) throw error;
      return Number(await this.#client.sendCommand(["EVAL", text, ...rest]));
    }
  }

  async claim(key: string, own: number, limit: number): Promise<boolean> {
    return (await this.#run(hold, `places:${key}`, this.#pod, String(own), String(limit), String(LEASE_MS))) === 1;
  }

  async hold(key: string, own: number): Promise<void> {
    await this.#run(hold, `places:${key}`, this.#pod, String(own), "-1", String(LEASE_MS));
  }

  add(key: string, amount: number, windowMs: number): Promise<number> {
    return this.#run(add, `window:${key}`, String(amount), lifetime(windowMs));
  }

  async remember(key: string, value: string, ttlMs: number): Promise<void> {
    await this.#client.sendCommand(["SET", `${this.#prefix}kept:${key}`, value, "PX", lifetime(ttlMs)]);
  }

  async recall(key: string): Promise<string | undefined> {
    const value: unknown = await this.#client.sendCommand(["GET", `${this.#prefix}kept:${key}`]);
    return typeof value === "string" ? value : undefined;
  }

  async ping(): Promise<void> {
    if (!this.#client.isReady && this.#trouble !== undefined) throw this.#trouble;
    await this.#client.sendCommand(["PING"]);
  }

  reconnect(): void {
    // Open and not ready: it is at it already.
    if (this.#closed || (this.#client.isOpen && !this.#client.isReady)) return;
    if (this.#client.isOpen) this.#client.destroy();
    this.#client = this.#connect();
  }

  close(): void {
    this.#closed = true;
    if (this.#client.isOpen) this.#client.destroy();
  }
}
