/**
 * A real OpenLDAP: slapd with its own directory and ports, a handful of people, TLS by a certificate of the test's. Can be ended and started again in place.
 *
 * What it reads and writes lies below one folder; where a security module confines slapd to its own folders, starting it fails and says so.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureCommands } from "./packages.ts";
import { freePort, untilListening } from "./ports.ts";

export const slapdMissing = (): string | undefined =>
  ensureCommands({ slapd: ["/usr/sbin/slapd", "/usr/sbin/slapadd"] });

export interface Person {
  readonly uid: string;
  readonly mail: string;
  readonly password: string;
}

export const LDAP_BASE = "dc=example,dc=org";
export const LDAP_READER = { dn: `cn=reader,${LDAP_BASE}`, password: "a-reader's-password" };

export class Slapd implements AsyncDisposable {
  readonly port: number;
  readonly tlsPort: number;
  readonly #directory: string;
  #process: ChildProcess | undefined;
  #output = "";

  private constructor(ports: readonly [number, number], directory: string) {
    [this.port, this.tlsPort] = ports;
    this.#directory = directory;
  }

  static async start(
    people: readonly Person[],
    certificate: { readonly certificate: string; readonly privateKey: string },
    /** Further entries, as LDIF. */
    more: string = "",
  ): Promise<Slapd> {
    const directory = mkdtempSync(join(tmpdir(), "packetboat-slapd-"));
    mkdirSync(join(directory, "db"));
    writeFileSync(join(directory, "tls.crt"), certificate.certificate);
    writeFileSync(join(directory, "tls.key"), certificate.privateKey, { mode: 0o600 });
    const schemas = ["core", "cosine", "inetorgperson"].map((name) => `include /etc/ldap/schema/${name}.schema`);
    writeFileSync(
      join(directory, "slapd.conf"),
      `${schemas.join("\n")}
pidfile ${directory}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile ${directory}/tls.crt
TLSCertificateKeyFile ${directory}/tls.key
database mdb
suffix "${LDAP_BASE}"
directory ${directory}/db
rootdn "cn=admin,${LDAP_BASE}"
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="${LDAP_READER.dn}" read by * auth
`,
    );
    const hash = (password: string): string =>
      spawnSync("/usr/sbin/slappasswd", ["-n", "-s", password], { encoding: "utf8" }).stdout;
    const entries = [
      `dn: ${LDAP_BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n`,
      `dn: ${LDAP_READER.dn}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\nuserPassword: ${hash(LDAP_READER.password)}\n`,
      `dn: ou=people,${LDAP_BASE}\nobjectClass: organizationalUnit\nou: people\n`,
      ...people.map(
        ({ uid, mail, password }) =>
          `dn: uid=${uid},ou=people,${LDAP_BASE}\nobjectClass: inetOrgPerson\nuid: ${uid}\ncn: ${uid}\nsn: ${uid}\nmail: ${mail}\nuserPassword: ${hash(password)}\n`,
      ),
      more,
    ];
    writeFileSync(join(directory, "people.ldif"), entries.join("\n"));
    const added = spawnSync(
      "/usr/sbin/slapadd",
      ["-f", join(directory, "slapd.conf"), "-l", join(directory, "people.ldif")],
      { encoding: "utf8" },
    );
    if (added.status !== 0) throw new Error(`slapadd: ${added.stderr}`);
    const slapd = new Slapd([await freePort(), await freePort()], directory);
    await slapd.run();
    return slapd;
  }

  async run(): Promise<void> {
    const urls = `ldap://127.0.0.1:${this.port} ldaps://127.0.0.1:${this.tlsPort}`;
    // Any debug level keeps it in the foreground.
    const child = spawn("/usr/sbin/slapd", ["-f", join(this.#directory, "slapd.conf"), "-h", urls, "-d", "0"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (data: Buffer) => (this.#output += data.toString()));
    await Promise.all([untilListening(this.port), untilListening(this.tlsPort)]).catch((cause: unknown) => {
      child.kill();
      throw new Error(`slapd did not start: ${this.#output}`, { cause });
    });
  }

  async stop(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
