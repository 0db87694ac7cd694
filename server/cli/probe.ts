/**
 * The delivery probe: sends one message by SMTP and waits until the server has delivered it. What `helm test` runs.
 *
 * Stands outside the server, as a client of its SMTP port and of the admin port of each of its pods. Promises exit code 0 only when the
 * message was answered 250, left every queue, and a delivery was counted after it was sent. Anything else (refused, bounced, still queued at the
 * deadline, admin port unreachable) is code 1 with a sentence; a wrong command line is code 2. RFC 5321 §3.3.
 */
import { randomUUID } from "node:crypto";
import { lookup } from "node:dns/promises";
import { hostname } from "node:os";
import { setTimeout as wait } from "node:timers/promises";
import { parseArgs } from "node:util";
import SMTPConnection from "nodemailer/lib/smtp-connection";

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface ProbeOptions {
  readonly server: Endpoint;
  /** Resolved to every address: a headless Service names one for each pod. */
  readonly admin: Endpoint;
  /** "" is the null sender. */
  readonly from: string;
  readonly to: string;
  /** From the 250 to the delivery. */
  readonly timeoutMs: number;
  readonly pollMs: number;
  /** Called with each step, as a plain sentence. */
  readonly say: (line: string) => void;
}

export type ProbeResult =
  | { readonly kind: "delivered"; readonly afterMs: number }
  | { readonly kind: "not-delivered"; readonly message: string };

interface Deliveries {
  readonly delivered: number;
  readonly failed: number;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** `host:port` or `[ipv6]:port`; undefined when it is neither. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([^\s:[\]/]{1,253})):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  return host !== undefined && port >= 1 && port <= 65535 ? { host, port } : undefined;
}

/** Delivered and failed recipients of one pod, over all transports, from its metrics page. */
export function countDeliveries(metrics: string): Deliveries {
  const sums = { delivered: 0, failed: 0 };
  for (const line of metrics.split("\n")) {
    if (!line.startsWith("packetboat_deliveries_total{")) continue;
    const value = Number(line.slice(line.lastIndexOf(" ") + 1));
    if (!Number.isFinite(value)) continue;
    if (line.includes('result="delivered"')) sums.delivered += value;
    if (line.includes('result="failed"')) sums.failed += value;
  }
  return sums;
}

/** The queue id in the server's 250, as it appears in logs and in GET /queue/<id>. */
export const queueIdOf = (reply: string): string | undefined => /queued as ([0-9A-Za-z]{10,20})\b/i.exec(reply)?.[1];

/** Base URLs of the admin port of every pod. */
async function adminPorts({ host, port }: Endpoint): Promise<string[]> {
  const addresses = await lookup(host, { all: true });
  return addresses.map(({ address, family }) => `http://${family === 6 ? `[${address}]` : address}:${port}`);
}

async function deliveriesOf(ports: readonly string[]): Promise<Deliveries> {
  const pages = await Promise.all(
    ports.map(async (base) => {
      const response = await fetch(`${base}/metrics`, { signal: AbortSignal.timeout(5_000) });
      if (!response.ok) throw new Error(`${base}/metrics answered ${response.status}`);
      return countDeliveries(await response.text());
    }),
  );
  return pages.reduce(
    (sum, page) => ({ delivered: sum.delivered + page.delivered, failed: sum.failed + page.failed }),
    { delivered: 0, failed: 0 },
  );
}

async function stillQueued(ports: readonly string[], id: string): Promise<boolean> {
  const answers = await Promise.all(
    ports.map(async (base) => {
      const response = await fetch(`${base}/queue/${id}`, { signal: AbortSignal.timeout(5_000) });
      await response.body?.cancel();
      if (response.status !== 200 && response.status !== 404)
        throw new Error(`${base}/queue/${id} answered ${response.status}`);
      return response.status === 200;
    }),
  );
  return answers.includes(true);
}

/** One transaction; resolves to the text of the final 250, rejects with what the server said. */
async function send({ server, from, to }: ProbeOptions): Promise<string> {
  const content = [
    `From: Packetboat probe <${from === "" ? `probe@${hostname()}` : from}>`,
    `To: <${to}>`,
    "Subject: Packetboat delivery probe",
    `Date: ${new Date().toUTCString().replace("GMT", "+0000")}`,
    `Message-ID: <${randomUUID()}@probe.packetboat.invalid>`,
    "Auto-Submitted: auto-generated",
    "",
    "This message shows that the mail server accepts and delivers.",
    "",
  ].join("\r\n");
  // The probe asks whether mail flows, not who the server is: its certificate may be self-signed.
  const connection = new SMTPConnection({
    ...server,
    opportunisticTLS: true,
    tls: { rejectUnauthorized: false },
    connectionTimeout: 10_000,
    greetingTimeout: 15_000,
    socketTimeout: 30_000,
  });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  connection.once("error", reject);
  connection.connect((problem) => {
    if (problem) return reject(problem);
    connection.send({ from: from === "" ? false : from, to: [to] }, content, (refusal, info) =>
      info ? resolve(info.response) : reject(refusal ?? new Error("no reply to the message")),
    );
  });
  try {
    const reply = await promise;
    connection.quit();
    return reply;
  } catch (error) {
    // An error of the closing connection has nobody left to tell.
    connection.on("error", () => undefined);
    connection.close();
    throw error;
  }
}

export async function probe(options: ProbeOptions): Promise<ProbeResult> {
  const { say } = options;
  const fail = (message: string): ProbeResult => ({ kind: "not-delivered", message });

  let ports: string[];
  let before: Deliveries;
  try {
    ports = await adminPorts(options.admin);
    before = await deliveriesOf(ports);
  } catch (error) {
    return fail(`admin port ${options.admin.host}:${options.admin.port} cannot be asked: ${messageOf(error)}`);
  }
  say(`${ports.length} pod(s), ${before.delivered} recipients delivered so far`);

  let reply: string;
  try {
    reply = await send(options);
  } catch (error) {
    return fail(`the message was not accepted: ${messageOf(error)}`);
  }
  const id = queueIdOf(reply);
  say(`accepted: ${reply}`);

  const acceptedAt = performance.now();
  const elapsedMs = () => Math.round(performance.now() - acceptedAt);
  let last: string;
  do {
    try {
      const queued = id !== undefined && (await stillQueued(ports, id));
      const now = await deliveriesOf(ports);
      if (!queued && now.delivered > before.delivered) return { kind: "delivered", afterMs: elapsedMs() };
      if (!queued && now.failed > before.failed)
        return fail("it left the queue as undeliverable; see the server's log");
      last = queued ? "it is still in the queue" : "no delivery has been counted";
    } catch (error) {
      last = messageOf(error);
    }
    await wait(options.pollMs);
  } while (elapsedMs() < options.timeoutMs);
  return fail(`not delivered within ${options.timeoutMs / 1000} s: ${last}`);
}

const usage = "probe.ts --server HOST:PORT --admin HOST:PORT --to ADDRESS [--from ADDRESS] [--timeout SECONDS]";

/** The command; resolves to the exit code. */
export async function main(args: readonly string[], say: (line: string) => void): Promise<0 | 1 | 2> {
  let values: { server?: string; admin?: string; to?: string; from?: string; timeout?: string };
  try {
    const text = { type: "string" } as const;
    const options = { server: text, admin: text, to: text, from: text, timeout: text };
    ({ values } = parseArgs({ args: [...args], options }));
  } catch (error) {
    say(`${messageOf(error)}\nusage: ${usage}`);
    return 2;
  }
  const server = parseEndpoint(values.server ?? "");
  const admin = parseEndpoint(values.admin ?? "");
  const timeoutMs = Number(values.timeout ?? "60") * 1000;
  if (server === undefined || admin === undefined || !values.to || !(timeoutMs > 0)) {
    say(`usage: ${usage}`);
    return 2;
  }
  const result = await probe({ server, admin, to: values.to, from: values.from ?? "", timeoutMs, pollMs: 250, say });
  say(result.kind === "delivered" ? `delivered after ${result.afterMs} ms` : result.message);
  return result.kind === "delivered" ? 0 : 1;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2), (line) => console.log(line)));
