/** A real DNS server with zones of the test's: NSD, authoritative, on a loopback port of its own. What it reads and writes lies below one folder. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureCommands } from "./packages.ts";
import { freePort, untilListening } from "./ports.ts";

const NSD = "/usr/sbin/nsd";
export const nsdMissing = (): string | undefined => ensureCommands({ nsd: [NSD] });

export class Nsd implements AsyncDisposable {
  readonly port: number;
  readonly #directory: string;
  readonly #process: ChildProcess;

  readonly address: string;

  private constructor(address: string, port: number, directory: string, process: ChildProcess) {
    this.address = address;
    this.port = port;
    this.#directory = directory;
    this.#process = process;
  }

  /** As `outbound.dns.resolvers` takes it. */
  get resolver(): string {
    return `${this.address}:${this.port}`;
  }

  /** Zone → its records, one a line, names relative to the zone. `address`: of loopback, at port 53, for those who cannot be told of a port. */
  static async start(zones: Readonly<Record<string, readonly string[]>>, address?: string): Promise<Nsd> {
    const directory = mkdtempSync(join(tmpdir(), "packetboat-nsd-"));
    const port = address === undefined ? await freePort() : 53;
    for (const [zone, records] of Object.entries(zones)) {
      const text = `$ORIGIN ${zone}.\n$TTL 60\n@ IN SOA ns.${zone}. hostmaster.${zone}. 1 3600 600 86400 60\n@ IN NS ns.${zone}.\nns IN A 127.0.0.1\n`;
      writeFileSync(join(directory, `${zone}.zone`), `${text}${records.join("\n")}\n`);
    }
    const config = `server:
  ip-address: ${address ?? "127.0.0.1"}
  port: ${port}
  username: ""
  zonesdir: "${directory}"
  pidfile: "${directory}/nsd.pid"
  xfrdfile: "${directory}/xfrd.state"
  xfrdir: "${directory}"
  zonelistfile: "${directory}/zone.list"
  database: ""
  server-count: 1
  ip-transparent: no
remote-control:
  control-enable: no
${Object.keys(zones)
  .map((zone) => `zone:\n  name: "${zone}"\n  zonefile: "${zone}.zone"\n`)
  .join("")}`;
    writeFileSync(join(directory, "nsd.conf"), config);
    const child = spawn(NSD, ["-d", "-c", join(directory, "nsd.conf")], { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (output += data.toString()));
    try {
      await untilListening(port, 20_000, address);
    } catch (cause) {
      child.kill();
      rmSync(directory, { recursive: true, force: true });
      throw new Error(`nsd did not start: ${output}`, { cause });
    }
    return new Nsd(address ?? "127.0.0.1", port, directory, child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, "exit");
      this.#process.kill("SIGTERM");
      await ended;
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
