/**
 * A real Dovecot that only authenticates: its auth service on a loopback port and on a socket, with users of our choice. Can be ended and started again in place.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeFolder } from "./folder.ts";
import { ensureCommands } from "./packages.ts";
import { freePort, untilListening } from "./ports.ts";

export const dovecotAuthMissing = (): string | undefined =>
  ensureCommands({ "dovecot-core": ["/usr/sbin/dovecot", "/usr/lib/dovecot/auth"] });

export class DovecotAuth implements AsyncDisposable {
  readonly port: number;
  readonly #directory: string;
  #process: ChildProcess | undefined;

  private constructor(port: number, directory: string) {
    this.port = port;
    this.#directory = directory;
  }

  /** `users`: name → password. */
  static async start(users: Readonly<Record<string, string>>): Promise<DovecotAuth> {
    const directory = mkdtempSync(join(tmpdir(), "packetboat-dovecot-auth-"));
    chmodSync(directory, 0o755); // the auth process reads the users as its own user
    const port = await freePort();
    const lines = Object.entries(users).map(([user, password]) => `${user}:{PLAIN}${password}::::::\n`);
    writeFileSync(join(directory, "users"), lines.join(""));
    writeFileSync(
      join(directory, "dovecot.conf"),
      `base_dir = ${directory}/run
state_dir = ${directory}/state
log_path = ${directory}/log
protocols =
ssl = no
auth_mechanisms = plain login scram-sha-1 scram-sha-256 cram-md5
auth_failure_delay = 0
passdb {
  driver = passwd-file
  args = ${directory}/users
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}
service auth {
  inet_listener {
    address = 127.0.0.1
    port = ${port}
  }
  unix_listener ${directory}/auth.sock {
    mode = 0666
  }
}
# Clients that fail are not slowed down: all of ours come from one address.
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  client_limit = 1000
}
`,
    );
    const dovecot = new DovecotAuth(port, directory);
    await dovecot.run();
    return dovecot;
  }

  get socket(): string {
    return join(this.#directory, "auth.sock");
  }

  async run(): Promise<void> {
    const log = join(this.#directory, "log");
    const child = spawn("/usr/sbin/dovecot", ["-F", "-c", join(this.#directory, "dovecot.conf")], { stdio: "ignore" });
    this.#process = child;
    await untilListening(this.port).catch((cause: unknown) => {
      child.kill();
      throw new Error(`Dovecot did not start: ${existsSync(log) ? readFileSync(log, "utf8") : "no log"}`, { cause });
    });
  }

  /** With its auth process, which would go on to serve the connections it has. */
  async stop(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child?.pid === undefined || child.exitCode !== null) return;
    const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim().split(" ");
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
    for (const pid of children.map(Number)) {
      try {
        if (pid > 0) process.kill(pid, "SIGKILL");
      } catch {
        // Gone with its parent.
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    removeFolder(this.#directory);
  }
}
