/**
 * The two that are compared: Packetboat in its embedded mode and a private Postfix, both with their defaults, both sending everything to one port.
 *
 * Measured of Packetboat is the server (primary and shards), what a pod runs; the embedded mode's operator, a pod of its own in a cluster, is left out.
 */
import { readFileSync } from "node:fs";
import type { Packetboat } from "../e2e/peers/packetboat.ts";
import { Postfix } from "../e2e/peers/postfix.ts";

export interface Side {
  readonly name: "Packetboat" | "Postfix";
  readonly port: number;
  /** The topmost process of what is measured. */
  readonly root: () => number;
}

/** The MailServer of the benchmarks; `more` are further fields of its spec. Everything else is a default. */
export const mailServer = (relayPort: number, more = ""): string => `apiVersion: mail.packetboat.io/v1alpha1
kind: MailServer
metadata: {name: mx}
spec:
  hostname: packetboat.bench.example
  networks: {trusted: [127.0.0.0/8]}
  outbound:
    relayHost: {host: 127.0.0.1, port: ${relayPort}}
${more}`;

export function sideOf(server: Packetboat | Postfix): Side {
  if (server instanceof Postfix) return { name: "Postfix", port: server.port, root: () => server.pid };
  return { name: "Packetboat", port: server.mx, root: () => serverProcess(server) };
}

/** The server below the embedded mode's own process. */
function serverProcess({ pid }: Packetboat): number {
  const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  return Number(child);
}
