/**
 * Which resolvers to ask: those of the configuration, else those of /etc/resolv.conf.
 *
 * Read by `resolver.ts` at every miss, re-read from disk at most every 30 s (a node's resolver may change under a running pod).
 * A line that is no server is skipped; when nothing is left, the local host is asked, as the C library does. resolv.conf(5).
 */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";

export interface DnsServer {
  readonly address: string;
  readonly port: number;
}

const rereadMs = 30_000;
/** MAXNS of the C library. */
const mostServers = 3;

/** `ip`, `ip4:port`, `[ip6]`, `[ip6]:port`; undefined when it is none of them. */
export function parseServer(text: string): DnsServer | undefined {
  const bracketed = /^\[([0-9a-fA-F:.%\w]{2,64})\](?::(\d{1,5}))?$/.exec(text);
  if (bracketed?.[1] !== undefined) return checked(bracketed[1], bracketed[2]);
  if (isIP(text.split("%")[0] ?? "") !== 0) return { address: text, port: 53 };
  const colon = text.lastIndexOf(":");
  return colon < 0 ? undefined : checked(text.slice(0, colon), text.slice(colon + 1));
}

function checked(address: string, portText: string | undefined): DnsServer | undefined {
  const port = portText === undefined ? 53 : Number(portText);
  return isIP(address.split("%")[0] ?? "") !== 0 && Number.isInteger(port) && port > 0 && port < 65536
    ? { address, port }
    : undefined;
}

export function serversOfResolvConf(text: string): readonly DnsServer[] {
  const servers: DnsServer[] = [];
  for (const line of text.split("\n")) {
    const words = line.trim().split(/\s+/, 2);
    const server = words[0] === "nameserver" && words[1] !== undefined ? parseServer(words[1]) : undefined;
    if (server !== undefined && servers.length < mostServers) servers.push(server);
  }
  return servers;
}

/** A function that knows the servers of this moment. */
export function systemServers(path = "/etc/resolv.conf", now: () => number = Date.now): () => readonly DnsServer[] {
  let servers: readonly DnsServer[] = [];
  let readAtMs = Number.NEGATIVE_INFINITY;
  return () => {
    if (now() - readAtMs < rereadMs) return servers;
    readAtMs = now();
    try {
      servers = serversOfResolvConf(readFileSync(path, "utf8"));
    } catch {
      // No such file: the default below.
      servers = [];
    }
    if (servers.length === 0) servers = [{ address: "127.0.0.1", port: 53 }];
    return servers;
  };
}
