/**
 * A real Dovecot for delivery tests: LMTP on a loopback port and on a socket, one maildir a user, its own directories, ended by its pid.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeFolder } from "./folder.ts";
import { ensureCommands } from "./packages.ts";
import { freePort, untilListening } from "./ports.ts";

export const dovecotMissing = (): string | undefined =>
  ensureCommands({ "dovecot-core": ["/usr/sbin/dovecot"], "dovecot-lmtpd": ["/usr/lib/dovecot/lmtp"] });

export class Dovecot implements AsyncDisposable {
  readonly port: number;
  readonly directory: string;
  readonly #process: ChildProcess;

  private constructor(port: number, directory: string, process: ChildProcess) {
    this.port = port;
    this.directory = directory;
    this.#process = process;
  }

  /** `users`: full addresses that exist; everybody else gets 550 5.1.1 from LMTP. `mostMessages`: of one user; more gets 552 after the dot. */
  static async start(
    users: readonly string[],
    at: { readonly address?: string; readonly port?: number; readonly mostMessages?: number } = {},
  ): Promise<Dovecot> {
    const directory = mkdtempSync(join(tmpdir(), "packetboat-dovecot-"));
    chmodSync(directory, 0o755); // Dovecot's auth process reads the list of users as its own user
    const address = at.address ?? "127.0.0.1";
    const port = at.port ?? (await freePort());
    const id = (name: string): [number, number] => {
      const fields = readFileSync("/etc/passwd", "utf8")
        .split("\n")
        .find((line) => line.startsWith(`${name}:`))
        ?.split(":");
      return [Number(fields?.[2] ?? 0), Number(fields?.[3] ?? 0)];
    };
    const [uid, gid] = id("mail");
    mkdirSync(join(directory, "mail"), { mode: 0o777 });
    chownSync(join(directory, "mail"), uid, gid);
    writeFileSync(join(directory, "users"), users.map((user) => `${user}:{PLAIN}unused::::::\n`).join(""));
    const quota =
      at.mostMessages === undefined
        ? ""
        : `mail_plugins = quota
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:messages=${at.mostMessages}
}`;
    writeFileSync(
      join(directory, "dovecot.conf"),
      `base_dir = ${directory}/run
state_dir = ${directory}/state
log_path = ${directory}/log
protocols = lmtp
ssl = no
mail_uid = ${uid}
mail_gid = ${gid}
first_valid_uid = ${uid}
first_valid_gid = ${gid}
mail_location = maildir:${directory}/mail/%u
passdb {
  driver = passwd-file
  args = ${directory}/users
}
userdb {
  driver = static
  args = uid=${uid} gid=${gid} home=${directory}/mail/%u
}
service lmtp {
  inet_listener lmtp {
    address = ${address}
    port = ${port}
  }
  unix_listener ${directory}/lmtp.sock {
    mode = 0666
  }
}
${quota}
service stats {
  client_limit = 1000
}
`,
    );
    const child = spawn("/usr/sbin/dovecot", ["-F", "-c", join(directory, "dovecot.conf")], { stdio: "ignore" });
    await untilListening(port, 20_000, address).catch((cause: unknown) => {
      child.kill();
      throw new Error(
        `Dovecot did not start: ${existsSync(join(directory, "log")) ? readFileSync(join(directory, "log"), "utf8") : "no log"}`,
        { cause },
      );
    });
    return new Dovecot(port, directory, child);
  }

  get socket(): string {
    return join(this.directory, "lmtp.sock");
  }

  /** The delivered messages of a user, whole. */
  messages(user: string): string[] {
    const folder = join(this.directory, "mail", user);
    return ["new", "cur"].flatMap((name) => {
      const path = join(folder, name);
      return existsSync(path) ? readdirSync(path).map((file) => readFileSync(join(path, file), "latin1")) : [];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null) {
      const ended = once(this.#process, "exit");
      this.#process.kill("SIGTERM");
      await ended;
    }
    removeFolder(this.directory);
  }
}
