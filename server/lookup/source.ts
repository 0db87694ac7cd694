/**
 * Source: what mysql.ts, ldap.ts and socketmap.ts share with `lookups.ts`, which makes them.
 *
 * The secrets a source was configured with, the events it tells, its hosts with failover under its look-ups, and waiting that ends.
 */
import type { Endpoint, LookupRole } from "../config/lookups.ts";
import { Failover, type FailureKind, type Host } from "./failover.ts";
import type { Lookup } from "./lookup.ts";

export interface SourceSecrets {
  readonly credentials?: { readonly username: string; readonly password: string };
  /** PEM. */
  readonly authority?: string;
  readonly clientCertificate?: { readonly certificate: string; readonly privateKey: string };
}

export interface SourceEvents {
  /** A host of a source went down, or is back. `reason` holds no secret and no key. */
  changed(source: string, host: string, up: boolean, reason: string | undefined): void;
}

export interface Source {
  readonly lookups: ReadonlyMap<LookupRole, Lookup>;
  readonly isAvailable: () => boolean;
  close(): Promise<void>;
}

/** Pause between tries of a host that is down, in the background. */
const RETRY_MS = 1000;

export interface SourceParts<H extends Host, Question> {
  readonly hosts: readonly H[];
  readonly kindOf: (cause: unknown) => FailureKind;
  /** What may be logged of an error. */
  readonly reasonOf: (cause: unknown) => string;
  /** Role → what is asked for it. */
  readonly questions: Readonly<Partial<Record<LookupRole, Question>>>;
  readonly lookup: (hosts: Failover<H>, question: Question) => Lookup;
}

export function createSource<H extends Host, Question>(
  source: { readonly name: string; readonly connectTimeoutMs: number },
  events: SourceEvents,
  { hosts: members, kindOf, reasonOf, questions, lookup }: SourceParts<H, Question>,
): Source {
  const hosts = new Failover(members, {
    hedgeMs: source.connectTimeoutMs,
    retryMs: RETRY_MS,
    kindOf,
    onChange: (host, up, cause) => events.changed(source.name, host, up, up ? undefined : reasonOf(cause)),
  });
  const asked = Object.entries(questions) as [LookupRole, Question][];
  return {
    lookups: new Map(asked.map(([role, question]) => [role, lookup(hosts, question)])),
    isAvailable: () => hosts.isAvailable,
    close: () => hosts.close(),
  };
}

export const endpointName = (endpoint: Endpoint): string =>
  "path" in endpoint
    ? endpoint.path
    : endpoint.host.includes(":")
      ? `[${endpoint.host}]:${endpoint.port}`
      : `${endpoint.host}:${endpoint.port}`;

/** Silence of the other side. The message is ours: nothing of anybody's input. */
export class TimedOut extends Error {
  readonly code: string = "ETIMEDOUT";
}

/** What `promise` comes to, or TimedOut; a promise that comes to something later has been heard. */
export async function withTimeout<T>(promise: Promise<T>, timeoutMs: number, message: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TimedOut(message)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
