/**
 * Audit: reads the API server's audit log, so that a test can count who wrote what.
 * Every request is one event, written when its answer is complete; a watch is one event when it ends.
 */
import { readFileSync } from "node:fs";
import { paths } from "./layout.ts";

export interface AuditEvent {
  readonly verb:
    | "get"
    | "list"
    | "watch"
    | "create"
    | "update"
    | "patch"
    | "delete"
    | "deletecollection"
    | (string & {});
  readonly user: { readonly username: string };
  readonly userAgent?: string;
  readonly requestURI: string;
  readonly objectRef?: {
    readonly resource?: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
    readonly apiGroup?: string;
  };
  readonly responseStatus?: { readonly code: number };
  readonly requestReceivedTimestamp: string;
}

/** The requests that arrived at this moment or later. */
export function readAuditEvents(since: Date = new Date(0)): AuditEvent[] {
  return readFileSync(paths.auditLog, "utf8")
    .split("\n")
    .filter((line) => line.endsWith("}")) // the last line may still be in the writing
    .map((line) => JSON.parse(line) as AuditEvent)
    .filter((event) => new Date(event.requestReceivedTimestamp) >= since);
}

export const isWrite = (event: AuditEvent): boolean => !["get", "list", "watch"].includes(event.verb);
