/**
 * A real MariaDB with the tables of ViMbAdmin: its own directories, loopback port and socket, killed and started again by tests, ended by its pid.
 *
 * The user `postfix` may only read. Its password is `MARIADB_PASSWORD`.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureCommands } from "./packages.ts";
import { freePort, until } from "./ports.ts";

export const MARIADB_PASSWORD = "read only, 'quoted'";

export const mariadbMissing = (): string | undefined => {
  if (process.getuid?.() !== 0) return "needs root: the server's files belong to its own user";
  return ensureCommands({
    "mariadb-server": ["/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db"],
    "mariadb-client": ["/usr/bin/mariadb"],
  });
};

/** As ViMbAdmin creates them, without the columns that no mail server reads; and the access table of a reference setup. */
const TABLES = `
CREATE TABLE domain (id BIGINT AUTO_INCREMENT PRIMARY KEY, domain VARCHAR(255) UNIQUE, transport VARCHAR(255) NOT NULL DEFAULT 'virtual',
  backupmx TINYINT(1) NOT NULL DEFAULT 0, active TINYINT(1) NOT NULL DEFAULT 1) CHARACTER SET utf8mb4;
CREATE TABLE mailbox (id BIGINT AUTO_INCREMENT PRIMARY KEY, username VARCHAR(255) UNIQUE, password VARCHAR(255), maildir VARCHAR(255),
  local_part VARCHAR(255), active TINYINT(1) NOT NULL DEFAULT 1, Domain_id BIGINT) CHARACTER SET utf8mb4;
CREATE TABLE alias (id BIGINT AUTO_INCREMENT PRIMARY KEY, address VARCHAR(255) UNIQUE, goto LONGTEXT, active TINYINT(1) NOT NULL DEFAULT 1,
  Domain_id BIGINT) CHARACTER SET utf8mb4;
CREATE TABLE tlspolicies (domain VARCHAR(255) PRIMARY KEY, policy ENUM('none','may','encrypt','dane','dane-only','fingerprint','verify','secure') NOT NULL,
  params VARCHAR(255)) CHARACTER SET utf8mb4;
CREATE TABLE access (pattern varchar(127) NOT NULL, action varchar(255) NOT NULL DEFAULT 'REJECT', type enum('spam','unsub','other') NOT NULL DEFAULT 'other',
  comment varchar(255) CHARACTER SET utf8 DEFAULT NULL, PRIMARY KEY (pattern)) DEFAULT CHARSET=ascii COLLATE=ascii_general_ci;
`;

export class Mariadb implements AsyncDisposable {
  readonly directory: string;
  readonly port: number;
  readonly #bufferPoolMiB: number;
  #process: ChildProcess | undefined;

  private constructor(directory: string, port: number, bufferPoolMiB: number) {
    this.#bufferPoolMiB = bufferPoolMiB;
    this.directory = directory;
    this.port = port;
  }

  get socket(): string {
    return join(this.directory, "sock");
  }

  /** `rows`: SQL run after the tables exist. `tls`: PEM of the server's certificate and key. */
  static async start(
    rows = "",
    options: {
      readonly port?: number;
      /** @default 16 */
      readonly bufferPoolMiB?: number;
      readonly tls?: { readonly certificate: string; readonly privateKey: string };
    } = {},
  ): Promise<Mariadb> {
    const directory = mkdtempSync(join(tmpdir(), "packetboat-mariadb-"));
    const user = readFileSync("/etc/passwd", "utf8")
      .split("\n")
      .find((line) => line.startsWith("mysql:"))
      ?.split(":");
    const [uid, gid] = [Number(user?.[2]), Number(user?.[3])];
    const mariadb = new Mariadb(directory, options.port ?? (await freePort()), options.bufferPoolMiB ?? 16);
    try {
      chownSync(directory, uid, gid);
      chmodSync(directory, 0o755);
      if (options.tls !== undefined) {
        for (const [name, content] of [
          ["tls.crt", options.tls.certificate],
          ["tls.key", options.tls.privateKey],
        ] as const) {
          writeFileSync(join(directory, name), content, { mode: 0o600 });
          chownSync(join(directory, name), uid, gid);
        }
      }
      execFileSync(
        "/usr/bin/mariadb-install-db",
        [
          "--no-defaults",
          `--datadir=${join(directory, "data")}`,
          "--user=mysql",
          "--auth-root-authentication-method=socket",
          "--skip-test-db",
          "--innodb-log-file-size=4M",
        ],
        { stdio: ["ignore", "ignore", "pipe"] },
      );
      await mariadb.run();
      const quoted = MARIADB_PASSWORD.replaceAll("'", "''");
      mariadb.sql(
        `CREATE DATABASE vimbadmin; CREATE USER postfix IDENTIFIED BY '${quoted}'; GRANT SELECT, EXECUTE ON vimbadmin.* TO postfix; USE vimbadmin; ${TABLES} ${rows}`,
      );
      return mariadb;
    } catch (cause) {
      await mariadb[Symbol.asyncDispose]();
      throw cause;
    }
  }

  /** Start (again), on the same port and data. */
  async run(): Promise<void> {
    const tls = existsSync(join(this.directory, "tls.crt"))
      ? [`--ssl-cert=${join(this.directory, "tls.crt")}`, `--ssl-key=${join(this.directory, "tls.key")}`]
      : [];
    const child = spawn(
      "/usr/sbin/mariadbd",
      [
        "--no-defaults",
        `--datadir=${join(this.directory, "data")}`,
        `--socket=${this.socket}`,
        `--port=${this.port}`,
        `--pid-file=${join(this.directory, "pid")}`,
        `--log-error=${join(this.directory, "log")}`,
        "--bind-address=127.0.0.1",
        "--user=mysql",
        `--innodb-buffer-pool-size=${this.#bufferPoolMiB}M`,
        "--innodb-log-file-size=4M",
        "--innodb-flush-log-at-trx-commit=0",
        "--skip-name-resolve",
        "--performance-schema=OFF",
        ...tls,
      ],
      { stdio: "ignore" },
    );
    this.#process = child;
    await until("MariaDB", 30_000, () => {
      if (child.exitCode !== null) throw new Error(`MariaDB did not start: ${this.log().slice(-2000)}`);
      try {
        this.sql("SELECT 1");
        return true;
      } catch {
        return false;
      }
    });
  }

  /** As root over the socket. */
  sql(statements: string): string {
    return execFileSync("/usr/bin/mariadb", ["--no-defaults", `--socket=${this.socket}`, "--user=root", "--batch"], {
      input: statements,
      encoding: "utf8",
      stdio: ["pipe", "pipe", "pipe"],
    });
  }

  log(): string {
    const path = join(this.directory, "log");
    return existsSync(path) ? readFileSync(path, "utf8") : "no log";
  }

  /** SIGKILL: connections break, nothing answers. SIGSTOP: the kernel goes on taking connections, and nobody answers. */
  async signal(signal: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT"): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ends = signal === "SIGKILL" || signal === "SIGTERM";
    const ended = ends ? once(child, "exit") : undefined;
    child.kill(signal);
    await ended;
    // A thread on the other processor answers one more question before it notices.
    if (signal === "SIGSTOP") await until("the database to stand still", 5000, () => standsStill(child.pid));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.signal("SIGKILL");
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** All of its threads are stopped: the state behind the name in /proc/PID/task/TID/stat. */
function standsStill(pid: number | undefined): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).every((thread) =>
      /\) T /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1")),
    );
  } catch (error) {
    // A thread ended between the two looks: somebody still moves.
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
}
