/**
 * DNS lists: is this address or domain listed, in block lists and allow-lists alike?
 *
 * Asked by postscreen and by the checks of `restrictions.dnsbl`. Promises an answer within the time given and never throws; a list that does not answer lists nobody,
 * and is counted. Answers outside 127.0.0.0/8 are nobody's listing: an expired list's domain is often sold and then answers everything. 127.255.255.0/24 is how lists
 * tell a resolver that it may not ask; such an answer lists nobody either, unless a filter names it. Answers are kept for their TTL by the resolver. RFC 5782 §2.1, §2.3, §2.4, §5.
 */
import ipaddr from "ipaddr.js";
import { matchesFilter, parseReplyFilter, type ReplyFilter } from "../config/reply-filter.ts";
import * as metrics from "../observe/metrics.ts";
import type { Dns } from "./resolver.ts";
import { isQueryName } from "./wire.ts";

export interface DnsList {
  readonly zone: string;
  /** What is told instead of the zone, which may hold a customer's key. */
  readonly shownAs?: string | undefined;
  /** Which answers count; absent: all that mean a listing. */
  readonly filter?: string | undefined;
}

export type Listing = "listed" | "clear" | "unanswered" | "refused" | "implausible";

/** The name under which an address is asked for; undefined for what is none. RFC 5782 §2.1 (IPv4), §2.4 (IPv6, by nibbles). */
export function addressQuery(address: string): string | undefined {
  const bare = address.split("%")[0] ?? "";
  if (!ipaddr.isValid(bare)) return undefined;
  const parsed = ipaddr.process(bare);
  const bytes = parsed.toByteArray();
  const labels = parsed.kind() === "ipv4" ? bytes : bytes.flatMap((byte) => [byte >> 4, byte & 15]);
  return labels
    .toReversed()
    .map((label) => label.toString(parsed.kind() === "ipv4" ? 10 : 16))
    .join(".");
}

/** A stranger's domain as a question: no literal, no number in place of a name. RFC 5782 §2.5 */
export function domainQuery(written: string): string | undefined {
  const domain = written.toLowerCase().replace(/\.$/, "");
  const plain = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)+$/.test(domain) && !/\.[0-9]+$/.test(domain);
  return domain.length <= 253 && plain ? domain : undefined;
}

export const nameOfList = ({ zone, shownAs }: DnsList): string => shownAs ?? zone;

/** Filters are few and asked for with every client. */
const compiled = new Map<string, ReplyFilter | undefined>();
const MAX_COMPILED = 1000;

function filterOf(text: string): ReplyFilter | undefined {
  if (!compiled.has(text)) {
    if (compiled.size >= MAX_COMPILED) compiled.clear();
    compiled.set(text, parseReplyFilter(text));
  }
  return compiled.get(text);
}

/** What these answers mean. A filter that cannot be read matches nothing: the operator has said so. */
export function judgeAnswers(answers: readonly string[], filter: string | undefined): Listing {
  const plausible = answers.filter((answer) => answer.startsWith("127."));
  if (plausible.length === 0) return "implausible";
  if (filter !== undefined) {
    const wanted = filterOf(filter);
    if (wanted !== undefined && plausible.some((answer) => matchesFilter(wanted, answer))) return "listed";
  }
  if (plausible.every((answer) => answer.startsWith("127.255.255."))) return "refused";
  return filter === undefined ? "listed" : "clear";
}

/** `query` as addressQuery or domainQuery wrote it. */
export async function askList(dns: Pick<Dns, "a">, query: string, list: DnsList, timeoutMs: number): Promise<Listing> {
  const name = `${query}.${list.zone}`;
  // Too long a domain is in no list.
  const listing = isQueryName(name) ? await judged(dns.a(name), list.filter, timeoutMs) : "clear";
  metrics.dnsblQueries.inc({ list: nameOfList(list), result: listing });
  return listing;
}

async function judged(answer: ReturnType<Dns["a"]>, filter: string | undefined, timeoutMs: number): Promise<Listing> {
  const result = await withinTime(answer, timeoutMs);
  if (result === undefined || result.kind === "temporary") return "unanswered";
  return result.kind === "found" ? judgeAnswers(result.answers, filter) : "clear";
}

const MAX_TEXT = 200;

/** What the list says of it, made fit for a reply line; undefined when it says nothing in time. */
export async function listText(
  dns: Pick<Dns, "txt">,
  query: string,
  { zone }: DnsList,
  timeoutMs: number,
): Promise<string | undefined> {
  const name = `${query}.${zone}`;
  if (!isQueryName(name)) return undefined;
  const result = await withinTime(dns.txt(name), timeoutMs);
  if (result?.kind !== "found") return undefined;
  const text = (result.answers[0] ?? "")
    .replaceAll(/[^\x20-\x7e]+/g, " ")
    .trim()
    .slice(0, MAX_TEXT);
  return text === "" ? undefined : text;
}

async function withinTime<T>(answer: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), timeoutMs);
  try {
    return await Promise.race([answer, late.promise]);
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
