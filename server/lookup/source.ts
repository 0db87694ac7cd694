/**
 * Source: what mysql.ts, ldap.ts and socketmap.ts share with `lookups.ts`, which makes them.
 *
 * The secrets a source was configured with, the events it tells, and waiting that ends.
 */
import type { Endpoint, LookupRole } from "../config/lookups.ts";
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
