/**
 * A private Postfix: its own configuration, queue and data directories and port below a temporary folder, Debian's defaults otherwise, ended by `postfix stop`.
 *
 * Used as the yardstick of bench/ and as a peer; `smtp-source` and `smtp-sink` come with the same package.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { removeFolder } from "./folder.ts";
import { ensureCommands } from "./packages.ts";
import { freePort, untilListening } from "./ports.ts";

export const postfixMissing = (): string | undefined => {
  if (process.getuid?.() !== 0) return "needs root: Postfix's master refuses to start otherwise";
  return ensureCommands({ postfix: ["/usr/sbin/postfix", "/usr/sbin/smtp-source", "/usr/sbin/smtp-sink"] });
};

export interface PostfixSetup {
  /** main.cf besides directories, interfaces and the log. */
  readonly main: string;
  readonly port?: number;
  /** Files beside main.cf: name → text. */
  readonly files?: Readonly<Record<string, string>>;
  /** Those of them that become hash tables. */
  readonly hashed?: readonly string[];
  readonly services?: readonly { readonly port: number; readonly options: Readonly<Record<string, string>> }[];
  /** Address of the DNS server it asks, at port 53: it then lives in a mount namespace with a resolv.conf of its own. */
  readonly nameserver?: string | undefined;
}

export class Postfix implements AsyncDisposable {
  readonly port: number;
  readonly directory: string;
  #isRunning = false;

  readonly #nameserver: string | undefined;

  private constructor(port: number, directory: string, nameserver: string | undefined) {
    this.port = port;
    this.directory = directory;
    this.#nameserver = nameserver;
  }

  /** Starts one that trusts loopback and sends everything to `relayPort` on loopback; `extra` are further main.cf lines. */
  static async start(relayPort: number, extra = ""): Promise<Postfix> {
    return Postfix.configured({
      main: `myhostname = postfix.bench.example
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
relayhost = [127.0.0.1]:${relayPort}
${extra}`,
    });
  }

  /** Starts one with this main.cf (directories, interfaces and the log are ours), and services besides the one on `port`. */
  static async configured(setup: PostfixSetup): Promise<Postfix> {
    const directory = mkdtempSync(join(tmpdir(), "packetboat-postfix-"));
    chmodSync(directory, 0o755);
    const port = setup.port ?? (await freePort());
    const [config, queue, data] = ["etc", "spool", "lib"].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    for (const folder of [config, queue, data]) mkdirSync(folder);
    execFileSync("chown", ["postfix:root", data]);
    writeFileSync(
      join(config, "main.cf"),
      `compatibility_level = 3.6
queue_directory = ${queue}
data_directory = ${data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = ${directory}/log
maillog_file_prefixes = ${directory}
${setup.main}
`,
    );
    for (const [name, text] of Object.entries(setup.files ?? {})) {
      mkdirSync(dirname(join(config, name)), { recursive: true });
      writeFileSync(join(config, name), text);
    }
    for (const name of setup.hashed ?? []) execFileSync("postmap", ["-c", config, `hash:${join(config, name)}`]);
    // Debian's services with chroot off, on our port, with the log service that a log file needs.
    const master = readFileSync("/usr/share/postfix/master.cf.dist", "utf8")
      .split("\n")
      .filter(
        (line) =>
          !line.startsWith("#") && !/^(maildrop|uucp|ifmail|bsmtp|scalemail-backend|mailman)\s|^\s+flags=/.test(line),
      )
      .map((line) =>
        line.replace(/^smtp(\s+inet)/, `127.0.0.1:${port}$1`).replace(/^(\S+\s+\S+\s+\S+\s+\S+\s+)y(\s)/, "$1n$2"),
      );
    if (!master.some((line) => line.startsWith("postlog")))
      master.push("postlog   unix-dgram n  -       n       -       1       postlogd");
    for (const service of setup.services ?? []) {
      master.push(`127.0.0.1:${service.port} inet n - n - - smtpd`);
      for (const [name, value] of Object.entries(service.options)) master.push(`  -o {${name} = ${value}}`);
    }
    writeFileSync(join(config, "master.cf"), `${master.join("\n")}\n`);
    const postfix = new Postfix(port, directory, setup.nameserver);
    await postfix.run();
    return postfix;
  }

  /** Resolves when its port answers. */
  async run(): Promise<void> {
    this.#control("start");
    this.#isRunning = true;
    await untilListening(this.port).catch((cause: unknown) => {
      const log = join(this.directory, "log");
      throw new Error(`Postfix did not start: ${existsSync(log) ? readFileSync(log, "utf8").slice(-2000) : "no log"}`, {
        cause,
      });
    });
  }

  /** Ends it; its queue stays, and `run` starts it again. */
  stop(): void {
    if (!this.#isRunning) return;
    this.#isRunning = false;
    this.#control("stop");
  }

  /** Seconds that listing the whole queue takes, and the line with its totals. */
  listQueue(): { readonly seconds: number; readonly totals: string } {
    const start = performance.now();
    const totals = execFileSync("sh", ["-c", 'postqueue -c "$0" -p | tail -n 1', join(this.directory, "etc")]);
    return { seconds: (performance.now() - start) / 1000, totals: totals.toString().trim() };
  }

  /** Messages that are not deferred or on hold: something is done about them now. */
  moving(): number {
    const lines = execFileSync("postqueue", ["-c", join(this.directory, "etc"), "-j"])
      .toString()
      .split("\n");
    return lines.filter((line) => /"queue_name": "(incoming|active|maildrop)"/.test(line)).length;
  }

  log(): string {
    const path = join(this.directory, "log");
    return existsSync(path) ? readFileSync(path, "utf8") : "no log";
  }

  #control(command: "start" | "stop"): void {
    const parameters = ["-c", join(this.directory, "etc"), command];
    if (command === "stop" || this.#nameserver === undefined) {
      execFileSync("postfix", parameters, { stdio: "ignore" });
      return;
    }
    const [resolver, order, hosts] = ["resolv.conf", "nsswitch.conf", "hosts"].map((name) =>
      join(this.directory, name),
    ) as [string, string, string];
    writeFileSync(resolver, `nameserver ${this.#nameserver}\noptions timeout:2 attempts:1\n`);
    writeFileSync(order, "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n");
    writeFileSync(hosts, "::1 ip6-localhost\n");
    const mounts = [
      [resolver, "/etc/resolv.conf"],
      [order, "/etc/nsswitch.conf"],
      [hosts, "/etc/hosts"],
    ].map(([from, to]) => `mount --bind ${from} ${to}`);
    execFileSync(
      "unshare",
      ["--mount", "sh", "-c", `${mounts.join(" && ")} && exec postfix "$@"`, "sh", ...parameters],
      {
        stdio: "ignore",
      },
    );
  }

  /** Pid of the master: its process group is all of this Postfix. */
  get pid(): number {
    return Number(readFileSync(join(this.directory, "spool/pid/master.pid"), "utf8").trim());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await Promise.resolve();
    removeFolder(this.directory);
  }
}

/** Postfix's own test sink: takes everything, keeps nothing, counts. */
export class SmtpSink implements AsyncDisposable {
  readonly port: number;
  readonly #process: ChildProcess;
  #messages = 0;

  private constructor(port: number, child: ChildProcess) {
    this.port = port;
    this.#process = child;
    let tail = "";
    child.stdout?.on("data", (data: Buffer) => {
      tail = (tail + data.toString()).slice(-200);
      const counts = [...tail.matchAll(/mesg=(\d+)/g)];
      this.#messages = Number(counts.at(-1)?.[1] ?? this.#messages);
    });
  }

  static async start(): Promise<SmtpSink> {
    const port = await freePort();
    const child = spawn("/usr/sbin/smtp-sink", ["-u", "nobody", "-c", `127.0.0.1:${port}`, "1000"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await untilListening(port);
    return new SmtpSink(port, child);
  }

  /** Messages taken since it started. */
  get messages(): number {
    return this.#messages;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await ended;
  }
}

export interface Load {
  readonly port: number;
  readonly messages: number;
  readonly bytes: number;
  readonly sessions: number;
  /** One connection a message instead of kept ones. */
  readonly reconnect: boolean;
  /** @default rcpt@sink.example */
  readonly recipient?: string;
  /** Each message to another: a number in front of `recipient`. */
  readonly distinct?: boolean;
}

/** `smtp-source` as load; resolves when every message has its 250. */
export async function smtpSource(load: Load): Promise<void> {
  const parameters = [
    "-s",
    String(load.sessions),
    "-m",
    String(load.messages),
    "-l",
    String(load.bytes),
    "-f",
    "sender@bench.example",
    "-t",
    load.recipient ?? "rcpt@sink.example",
  ];
  if (load.distinct === true) parameters.push("-N");
  if (!load.reconnect) parameters.push("-d");
  const child = spawn("/usr/sbin/smtp-source", [...parameters, `127.0.0.1:${load.port}`], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  const [code] = (await once(child, "exit")) as [number];
  if (code !== 0) throw new Error(`smtp-source ended with ${code}`);
}
