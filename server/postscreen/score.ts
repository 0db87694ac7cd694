/**
 * Score: what the DNS lists of postscreen say of a client, added up.
 *
 * All lists are asked at once; the sum is there when the last has answered or the time is over. A list that could not say adds nothing.
 */
import type { PostscreenSettings } from "../config/postscreen.ts";
import { addressQuery, askList, nameOfList } from "../dns/dnsbl.ts";
import type { Dns } from "../dns/resolver.ts";

export interface Score {
  readonly sum: number;
  /** The names of the lists that have it, the heaviest first. */
  readonly lists: readonly string[];
}

export async function scoreOf(
  dns: Pick<Dns, "a">,
  address: string,
  { sites, timeoutMs }: PostscreenSettings["dnsbl"],
): Promise<Score> {
  const query = addressQuery(address);
  if (query === undefined) return { sum: 0, lists: [] };
  const asked = await Promise.all(
    sites.map(async (site) => ({ site, listing: await askList(dns, query, site, timeoutMs) })),
  );
  const listed = asked.filter(({ listing }) => listing === "listed").map(({ site }) => site);
  return {
    sum: listed.reduce((sum, { weight }) => sum + weight, 0),
    lists: [...new Set(listed.toSorted((a, b) => b.weight - a.weight).map(nameOfList))],
  };
}
