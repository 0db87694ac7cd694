/**
 * HTTP to the API server: one request, one typed answer. Everything the operator reads or writes passes here.
 *
 * Promises: an answer is a value, never an exception; every request ends (deadline over all its tries, replies and lines bounded in size); a 429
 * or 503 that names a time is tried again after it; a 401 is tried once more with credentials read anew; a kept connection that the
 * server had closed meanwhile is tried once more where that is safe. Fails as `ApiFailure` with the server's reason, or with one of
 * ours and code 0 when there was no usable reply. The token is in no message.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { StringDecoder } from "node:string_decoder";
import { type Clock, sleep, systemClock } from "./clock.ts";
import type { Connection, Credentials } from "./connection.ts";
import type { Metrics } from "./metrics.ts";

export interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  /** All tries together; default 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** Reasons of our own, beside the server's (`NotFound`, `Conflict`, `Expired`, `Invalid`, …). */
export type LocalReason =
  | "ConnectionFailed"
  | "Timeout"
  | "Aborted"
  | "MalformedReply"
  | "ReplyTooLarge"
  | "NoCredentials"
  | "Silence"
  | "TruncatedLine"
  | "LineTooLong"
  | "NotLeader"
  | "NotOurs";

export interface ApiFailure {
  /** HTTP status; 0 when there was none. */
  readonly code: number;
  readonly reason: LocalReason | (string & {});
  readonly message: string;
  readonly retryAfterMs?: number;
  /** `details.causes` of the Status, such as the fields of an Invalid. */
  readonly causes?: readonly { readonly reason?: string; readonly message?: string; readonly field?: string }[];
}

export type ApiResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: ApiFailure };

/** A line stream that broke off after it had begun; the reason is one of `LocalReason`. */
export class StreamBroken extends Error {
  readonly failure: ApiFailure;
  constructor(failure: ApiFailure) {
    super(failure.message);
    this.failure = failure;
  }
}

export interface StreamLimits {
  /** A line longer than this breaks the stream; default 16 MiB. */
  readonly maxLineBytes?: number;
  /** Nothing at all for this long breaks the stream. */
  readonly silenceMs: number;
}

export interface TransportOptions {
  readonly connection: Connection;
  readonly userAgent?: string;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock;
  /** Default 64 MiB. */
  readonly maxReplyBytes?: number;
}

const defaultTimeoutMs = 30_000;
/** Never sleep longer than this on a server's word. */
const longestRetryAfterMs = 30_000;
const safeToRepeat = new Set(["GET", "PATCH", "DELETE"]);

export class Transport {
  readonly #connection: Connection;
  readonly #userAgent: string;
  readonly #metrics: Metrics | undefined;
  readonly #clock: Clock;
  readonly #maxReplyBytes: number;
  readonly #closing = new AbortController();
  #agent: { readonly fingerprint: string; readonly agent: HttpAgent | HttpsAgent } | undefined;

  constructor(options: TransportOptions) {
    this.#connection = options.connection;
    this.#userAgent = options.userAgent ?? `packetboat-operator/${ownVersion()}`;
    this.#metrics = options.metrics;
    this.#clock = options.clock ?? systemClock;
    this.#maxReplyBytes = options.maxReplyBytes ?? 64 * 1024 * 1024;
  }

  /** JSON in, JSON out. */
  async request<T>(request: ApiRequest): Promise<ApiResult<T>> {
    const started = this.#clock.now();
    const result = await this.#withDeadline(request, async (signal) => {
      const opened = await this.#open(request, signal);
      if (!opened.ok) return opened;
      return await this.#readJson<T>(opened.value);
    });
    this.#metrics?.apiRequestSeconds.observe({ method: request.method }, (this.#clock.now() - started) / 1000);
    return result;
  }

  /**
   * A reply that goes on, line by line. The headers must come within the request's time; after that the stream ends when the server ends
   * it, and throws `StreamBroken` when it is cut, silent, or ends inside a line.
   */
  async stream(request: ApiRequest, limits: StreamLimits): Promise<ApiResult<AsyncGenerator<string, void, void>>> {
    // The deadline covers only the beginning; afterwards silence is the measure. The caller's signal covers both.
    const body = new AbortController();
    const stop = () => body.abort();
    const outer = [request.signal, this.#closing.signal].filter((signal) => signal !== undefined);
    if (outer.some((signal) => signal.aborted)) return failed(0, "Aborted", "the request was given up");
    for (const signal of outer) signal.addEventListener("abort", stop, { once: true });
    const release = () => {
      for (const signal of outer) signal.removeEventListener("abort", stop);
    };
    const opened = await this.#withDeadline(request, async (signal) => {
      signal.addEventListener("abort", stop, { once: true });
      try {
        return await this.#open(request, body.signal);
      } finally {
        signal.removeEventListener("abort", stop);
      }
    });
    if (opened.ok) return { ok: true, value: this.#lines(opened.value, limits, release) };
    release();
    return opened;
  }

  /** Ends all requests and closes the sockets. */
  close(): void {
    this.#closing.abort();
    this.#agent?.agent.destroy();
  }

  async #withDeadline<R>(
    request: ApiRequest,
    run: (signal: AbortSignal) => Promise<ApiResult<R>>,
  ): Promise<ApiResult<R>> {
    const timeoutMs = request.timeoutMs ?? defaultTimeoutMs;
    const deadline = this.#clock.now() + timeoutMs;
    const controller = new AbortController();
    let timedOut = false;
    const cancelTimer = this.#clock.after(timeoutMs, () => {
      timedOut = true;
      controller.abort();
    });
    const stop = () => controller.abort();
    const givenUp = Promise.withResolvers<ApiResult<R>>();
    controller.signal.addEventListener(
      "abort",
      () => givenUp.resolve(failed(0, "Aborted", "the request was given up")),
      {
        once: true,
      },
    );
    const outer = [request.signal, this.#closing.signal].filter((signal) => signal !== undefined);
    for (const signal of outer) {
      if (signal.aborted) controller.abort();
      signal.addEventListener("abort", stop, { once: true });
    }
    try {
      for (;;) {
        if (controller.signal.aborted && !timedOut) return failed(0, "Aborted", "the request was given up");
        // Not even a credential plugin that never returns holds up a caller beyond the deadline.
        const result = await Promise.race([run(controller.signal), givenUp.promise]);
        if (result.ok) return result;
        if (timedOut)
          return failed(0, "Timeout", `no complete reply to ${request.method} ${request.path} within ${timeoutMs} ms`);
        if (controller.signal.aborted) return failed(0, "Aborted", "the request was given up");
        const waitMs = this.#retryAfter(result.failure);
        if (waitMs === undefined || this.#clock.now() + waitMs >= deadline) return result;
        await sleep(this.#clock, waitMs, controller.signal);
      }
    } finally {
      cancelTimer();
      for (const signal of outer) signal.removeEventListener("abort", stop);
    }
  }

  /** RFC 9110 §10.2.3, RFC 6585 §4: only when the server asked for it; a bare 503 is the caller's back-off. */
  #retryAfter(failure: ApiFailure): number | undefined {
    if (failure.code === 429) return Math.min(failure.retryAfterMs ?? 1000, longestRetryAfterMs);
    if (failure.code === 503 && failure.retryAfterMs !== undefined)
      return Math.min(failure.retryAfterMs, longestRetryAfterMs);
    return undefined;
  }

  /** Headers of a successful reply, or the failure; one more try for stale credentials and for a stale kept connection. */
  async #open(request: ApiRequest, signal: AbortSignal): Promise<ApiResult<IncomingMessage>> {
    let freshCredentials = false;
    let reconnected = false;
    for (;;) {
      let credentials: Credentials;
      try {
        credentials = await this.#connection.credentials(freshCredentials);
      } catch (error) {
        return failed(0, "NoCredentials", `cannot read the credentials: ${(error as Error).message}`);
      }
      const sent = await this.#send(request, credentials, signal);
      if (!sent.ok) {
        this.#metrics?.apiRequests.inc({ method: request.method, code: "0" });
        if (sent.staleConnection && !reconnected && safeToRepeat.has(request.method)) {
          reconnected = true;
          continue;
        }
        return { ok: false, failure: sent.failure };
      }
      const reply = sent.value;
      const code = reply.statusCode ?? 0;
      this.#metrics?.apiRequests.inc({ method: request.method, code: String(code) });
      if (code >= 200 && code < 300) return { ok: true, value: reply };
      const body = await readAll(reply, 1024 * 1024);
      if (code === 401 && !freshCredentials) {
        freshCredentials = true;
        continue;
      }
      return { ok: false, failure: asFailure(code, body.ok ? body.value : "", reply.headers["retry-after"]) };
    }
  }

  #send(
    request: ApiRequest,
    credentials: Credentials,
    signal: AbortSignal,
  ): Promise<{ ok: true; value: IncomingMessage } | { ok: false; failure: ApiFailure; staleConnection: boolean }> {
    const url = new URL(this.#connection.server.href.replace(/\/$/, "") + request.path);
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const body = request.body === undefined ? undefined : Buffer.from(JSON.stringify(request.body));
    const { promise, resolve } = Promise.withResolvers<
      { ok: true; value: IncomingMessage } | { ok: false; failure: ApiFailure; staleConnection: boolean }
    >();
    const start = url.protocol === "http:" ? requestHttp : requestHttps;
    const outgoing = start(url, {
      method: request.method,
      agent: credentials.proxyAgent ?? this.#agentFor(credentials, url.protocol),
      signal,
      headers: {
        ...credentials.headers,
        accept: "application/json",
        "user-agent": this.#userAgent,
        ...(body !== undefined && {
          "content-type": request.contentType ?? "application/json",
          "content-length": String(body.length),
        }),
      },
    });
    outgoing.once("response", (reply) => resolve({ ok: true, value: reply }));
    outgoing.on("error", (error: NodeJS.ErrnoException) => {
      const staleConnection = outgoing.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
      resolve({
        ...failed(0, "ConnectionFailed", `${request.method} ${request.path}: ${error.code ?? error.message}`),
        staleConnection,
      });
    });
    // Should Node ever close a request without a word, the caller still hears one.
    outgoing.once("close", () => {
      const silently = failed(0, "ConnectionFailed", `${request.method} ${request.path}: closed without a reply`);
      resolve({ ...silently, staleConnection: false });
    });
    outgoing.end(body);
    return promise;
  }

  /** Kept connections are tied to a TLS identity; a rotated certificate or CA starts new ones and lets the old ones run out. */
  #agentFor(credentials: Credentials, protocol: string): HttpAgent | HttpsAgent {
    const fingerprint = fingerprintOf(credentials, protocol);
    if (this.#agent?.fingerprint === fingerprint) return this.#agent.agent;
    for (const sockets of Object.values(this.#agent?.agent.freeSockets ?? {})) {
      for (const socket of sockets ?? []) socket.destroy();
    }
    const common = { keepAlive: true, keepAliveMsecs: 15_000, maxFreeSockets: 8, scheduling: "lifo" as const };
    const agent = protocol === "http:" ? new HttpAgent(common) : new HttpsAgent({ ...common, ...credentials.tls });
    this.#agent = { fingerprint, agent };
    return agent;
  }

  async #readJson<T>(reply: IncomingMessage): Promise<ApiResult<T>> {
    const text = await readAll(reply, this.#maxReplyBytes);
    if (!text.ok) return text;
    try {
      return { ok: true, value: JSON.parse(text.value) as T };
    } catch {
      return failed(0, "MalformedReply", `the reply is not JSON (${text.value.length} characters)`);
    }
  }

  async *#lines(reply: IncomingMessage, limits: StreamLimits, release: () => void): AsyncGenerator<string, void, void> {
    const maxLineBytes = limits.maxLineBytes ?? 16 * 1024 * 1024;
    let silent = false;
    const listen = () =>
      this.#clock.after(limits.silenceMs, () => {
        silent = true;
        reply.destroy();
      });
    let cancelSilence = listen();
    const parts: Buffer[] = [];
    let held = 0;
    try {
      for await (const chunk of reply as AsyncIterable<Buffer>) {
        cancelSilence();
        let from = 0;
        for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
          parts.push(chunk.subarray(from, end));
          from = end + 1;
          const line = Buffer.concat(parts).toString("utf8").trim();
          parts.length = 0;
          held = 0;
          if (line !== "") yield line;
        }
        if (from < chunk.length) {
          parts.push(chunk.subarray(from));
          held += chunk.length - from;
        }
        if (held > maxLineBytes) throw broken("LineTooLong", `a line of the watch exceeds ${maxLineBytes} bytes`);
        cancelSilence = listen();
      }
      if (silent) throw broken("Silence", `nothing came for ${limits.silenceMs} ms`);
      if (Buffer.concat(parts).toString("utf8").trim() !== "")
        throw broken("TruncatedLine", "the stream ended inside a line");
    } catch (error) {
      if (error instanceof StreamBroken) throw error;
      if (silent) throw broken("Silence", `nothing came for ${limits.silenceMs} ms`);
      throw broken(
        "ConnectionFailed",
        `the stream was cut: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`,
      );
    } finally {
      cancelSilence();
      release();
      reply.destroy();
    }
  }
}

export function failed(
  code: number,
  reason: ApiFailure["reason"],
  message: string,
): { readonly ok: false; readonly failure: ApiFailure } {
  return { ok: false, failure: { code, reason, message } };
}

function broken(reason: LocalReason, message: string): StreamBroken {
  return new StreamBroken({ code: 0, reason, message });
}

/** A `Status` object (or an ERROR event's) as a failure; a proxy's HTML page gets a reason by its number. */
export function asFailure(code: number, body: string, retryAfterHeader?: string): ApiFailure {
  let status: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null) status = parsed as Record<string, unknown>;
  } catch {
    // Not a Status: the number must do.
  }
  return statusFailure(status, code, retryAfterHeader);
}

export function statusFailure(
  status: Readonly<Record<string, unknown>>,
  code: number,
  retryAfterHeader?: string,
): ApiFailure {
  const details = (
    typeof status["details"] === "object" && status["details"] !== null ? status["details"] : {}
  ) as Record<string, unknown>;
  const seconds =
    retryAfterHeader !== undefined && /^\d{1,6}$/.test(retryAfterHeader)
      ? Number(retryAfterHeader)
      : details["retryAfterSeconds"];
  const causes = Array.isArray(details["causes"])
    ? (details["causes"] as NonNullable<ApiFailure["causes"]>)
    : undefined;
  const reason =
    typeof status["reason"] === "string" && status["reason"] !== "" ? status["reason"] : (reasons[code] ?? "Unknown");
  return {
    code,
    reason,
    message: typeof status["message"] === "string" ? status["message"].slice(0, 4096) : `HTTP ${code}`,
    ...(typeof seconds === "number" && seconds > 0 && { retryAfterMs: seconds * 1000 }),
    ...(causes !== undefined && { causes }),
  };
}

const reasons: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  409: "Conflict",
  410: "Gone",
  413: "RequestEntityTooLarge",
  415: "UnsupportedMediaType",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

/** The whole reply as text, or a failure when it is cut off or larger than `maxBytes`. */
async function readAll(reply: IncomingMessage, maxBytes: number): Promise<ApiResult<string>> {
  const decoder = new StringDecoder("utf8");
  let text = "";
  let bytes = 0;
  try {
    for await (const chunk of reply as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        reply.destroy();
        return failed(0, "ReplyTooLarge", `the reply exceeds ${maxBytes} bytes`);
      }
      text += decoder.write(chunk);
    }
  } catch (error) {
    return failed(
      0,
      "ConnectionFailed",
      `the reply was cut: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`,
    );
  }
  return { ok: true, value: text + decoder.end() };
}

function fingerprintOf(credentials: Credentials, protocol: string): string {
  const hash = createHash("sha256").update(protocol);
  const { ca, cert, key, pfx, passphrase, servername, rejectUnauthorized } = credentials.tls;
  for (const part of [ca, cert, key, pfx, passphrase, servername, String(rejectUnauthorized)])
    hash.update("\0").update(part ?? "-");
  return hash.digest("hex");
}

function ownVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    version?: string;
  };
  return manifest.version ?? "0";
}
