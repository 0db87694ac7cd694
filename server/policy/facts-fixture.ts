/** Test fixture of the policy: what a stage decides about a client that is described in a few words. Used by *.test.ts only. */
import assert from "node:assert/strict";
import type { LiveConfig } from "../config/schema.ts";
import type { Dns } from "../dns/resolver.ts";
import type { ClientName } from "../dns/reverse.ts";
import type { Lookups } from "../lookup/lookups.ts";
import { aConfig, aListener, noDns } from "../listen/inbound-fixture.ts";
import { standingOf } from "../route/standing.ts";
import { parseMailParameters } from "../session/parameters.ts";
import { parsePath } from "../session/path.ts";
import { type Decision, decide } from "./chain.ts";
import { ClientFacts, type TlsFacts } from "./facts.ts";
import { stages } from "./stages.ts";

export const certificate = "a".repeat(64);
export const publicKey = "b".repeat(64);
const plainTls: TlsFacts = {
  protocol: "TLSv1.3",
  cipher: "TLS_AES_256_GCM_SHA384",
  bits: 256,
  servername: undefined,
  clientCertificate: undefined,
};

export interface Client {
  readonly config?: LiveConfig;
  readonly address?: string;
  readonly name?: string | Error;
  /** Instead of `name`. */
  readonly naming?: ClientName;
  readonly dns?: Dns;
  readonly lookups?: Lookups;
  readonly extended?: boolean;
  readonly pipelined?: boolean;
  readonly helo?: string;
  readonly tls?: boolean;
  readonly shows?: boolean;
  readonly user?: string;
  readonly sender?: string;
  readonly parameters?: string;
  readonly queue?: "full" | "failed";
  readonly recipient?: string;
  readonly recipients?: number;
  readonly repeated?: boolean;
}

export function clientFacts({
  config = aConfig(),
  address = "192.0.2.1",
  name,
  naming = name === undefined || name instanceof Error ? { kind: "none" } : { kind: "named", name },
  dns = noDns,
  lookups,
  extended = true,
  pipelined = false,
  helo = "client.example.net",
  tls,
  shows,
  user,
}: Client): ClientFacts {
  const client = new ClientFacts({
    address,
    config: () => config,
    listener: () => config.server.listeners[0] ?? aListener(),
    reverse: () => (name instanceof Error ? Promise.reject(name) : Promise.resolve(naming)),
    dns,
    ...(lookups === undefined ? {} : { lookups: () => lookups }),
    standingOf: (each) => standingOf(config, each),
  });
  client.helo = helo === "" ? undefined : { name: helo, extended };
  if (tls === true)
    client.tls = shows === true ? { ...plainTls, clientCertificate: { certificate, publicKey } } : plainTls;
  client.user = user;
  client.pipelinedTooEarly = pipelined;
  return client;
}

export async function decidedAtMail(given: Client): Promise<Decision> {
  const parsed = parsePath(`FROM:<${given.sender ?? "bob@example.com"}>`, "FROM", { strict: false });
  const mail = parseMailParameters(given.parameters ?? "");
  assert.ok(parsed !== undefined && mail.kind === "ok");
  return await decide(stages.mail, {
    client: clientFacts(given),
    sender: parsed.path,
    mail: mail.value,
    queueUnavailable: given.queue,
  });
}

export async function decidedAtRcpt(given: Client): Promise<Decision> {
  const config = given.config ?? aConfig();
  const parsed = parsePath(`TO:<${given.recipient ?? "alice@example.org"}>`, "TO", { strict: false });
  assert.ok(parsed !== undefined);
  return await decide(stages.rcpt, {
    client: clientFacts(given),
    sender: given.sender ?? "bob@example.com",
    recipient: parsed.path,
    rcpt: { notify: undefined, originalRecipient: undefined },
    recipients: given.recipients ?? 0,
    repeated: given.repeated ?? false,
    smtpUtf8: false,
    standing: () => standingOf(config, parsed.path.address),
  });
}

export async function decidedAtData(given: Client): Promise<Decision> {
  return await decide(stages.data, {
    client: clientFacts(given),
    sender: given.sender ?? "bob@example.com",
    recipients: Array.from({ length: given.recipients ?? 1 }, (_, number) => `r${number}@example.org`),
    declaredSize: undefined,
  });
}

export const atMail = async (given: Client): Promise<string> => told(await decidedAtMail(given));
export const atRcpt = async (given: Client): Promise<string> => told(await decidedAtRcpt(given));
export const atData = async (given: Client): Promise<string> => told(await decidedAtData(given));

/** `yes`, `discard by …`, or the reply's codes and who gave it. */
export function told(decision: Decision): string {
  if (decision.kind === "pass") return "yes";
  if (decision.kind === "discard") return `discard by ${decision.check}`;
  return `${decision.reply.code} ${decision.reply.enhanced} ${decision.check}`;
}
