/**
 * `packetboat sendmail`: sendmail(1) for machines and images without a daemon; the message goes to a server by SMTP while the caller waits.
 *
 * Exit code 0 means that the server has taken it for every recipient. There is no queue here: what could not be handed over is EX_TEMPFAIL (75), and the
 * caller has to try again. A recipient who is refused is told on standard error and in the exit code, the others get the message. With credentials the
 * server's certificate is verified unless `--tls` says otherwise. sysexits.h, RFC 6409, RFC 3461 (-N, -V, -R).
 */
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { hostname, userInfo } from "node:os";
import { Readable } from "node:stream";
import SMTPConnection, { type SMTPConnectionSendInfo } from "nodemailer/lib/smtp-connection";
import type { ServerInfo } from "../admin/socket.ts";
import { dataFolder, localConnection } from "./control-client.ts";
import { Fleet } from "./fleet.ts";
import { type Endpoint, parseEndpoint } from "./probe.ts";
import { HeaderTooLarge, headerText, readMessage, recipientsIn } from "./sendmail-message.ts";
import { parseSendmail, type SendmailOptions } from "./sendmail-options.ts";
import type { Terminal } from "./terminal.ts";

const EX = {
  ok: 0,
  usage: 64,
  dataError: 65,
  noUser: 67,
  noHost: 68,
  unavailable: 69,
  temporary: 75,
  noPermission: 77,
};

class Refused extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

interface SmtpError extends Error {
  readonly code?: string;
  readonly responseCode?: number;
  readonly recipient?: string;
  readonly rejectedErrors?: readonly SmtpError[];
}

/** `run`: the other commands, for -bp, -q and -bv. */
export async function sendmail(
  parameters: readonly string[],
  terminal: Terminal,
  run: (parameters: readonly string[], terminal: Terminal) => Promise<number>,
): Promise<number> {
  const say = (text: string): void => void terminal.complaints.write(`sendmail: ${text}\n`);
  const parsed = parseSendmail(parameters);
  if (parsed.kind === "problem") {
    say(parsed.message);
    return EX.usage;
  }
  const { options } = parsed;
  const local = options.data === undefined ? [] : ["--data", options.data];
  try {
    switch (options.mode) {
      case "nothing":
        return EX.ok;
      case "list":
        return await run(["queue", "list", ...local], terminal);
      case "flush":
        return await run(["queue", "flush", ...local], terminal);
      case "verify": {
        if (options.recipients.length === 0) throw new Refused(EX.usage, "-bv needs addresses");
        let worst = 0;
        for (const address of options.recipients)
          worst = Math.max(
            worst,
            await run(["verify", ...local, "--from", options.sender ?? "<>", "--", address], terminal),
          );
        return worst === 0 ? EX.ok : EX.noUser;
      }
      case "smtp":
        return await speak(await serverOf(options), terminal);
      case "message":
        return await submit(options, terminal, say);
    }
  } catch (cause) {
    const { code, message } = cause instanceof Refused ? cause : refusalOf(cause as SmtpError);
    say(message);
    return code;
  }
}

/** `--server`, else PACKETBOAT_SERVER, else the server whose data folder is here, else port 25 of this machine. */
async function serverOf(options: SendmailOptions): Promise<Endpoint> {
  const named = options.server ?? process.env["PACKETBOAT_SERVER"];
  if (named !== undefined && named !== "") {
    const endpoint = parseEndpoint(named) ?? parseEndpoint(`${named}:25`);
    if (endpoint === undefined) throw new Refused(EX.usage, `--server ${named}: HOST:PORT is meant`);
    return endpoint;
  }
  const fleet = new Fleet([localConnection(dataFolder(options.data))], () => undefined);
  const info = await fleet.info().catch((): ServerInfo | undefined => undefined);
  const port = info?.listeners.find(({ role }) => role === "MX")?.port;
  return { host: "127.0.0.1", port: port ?? 25 };
}

/** RFC 5321 §2.3.5 wants a name with a dot; a container's has none, and then the address says whose it is. */
const ownHost = (): string => process.env["PACKETBOAT_HOSTNAME"] ?? hostname();

function ownUser(): string {
  try {
    return userInfo().username;
  } catch {
    // A container's user without an entry in passwd.
    return process.env["LOGNAME"] ?? process.env["USER"] ?? `uid${process.getuid?.() ?? ""}`;
  }
}

const qualified = (address: string, host: string): string =>
  address === "" || address.includes("@") || address.toLowerCase() === "postmaster" ? address : `${address}@${host}`;

async function submit(options: SendmailOptions, terminal: Terminal, say: (text: string) => void): Promise<number> {
  if (options.recipients.length === 0 && !options.fromHeader)
    throw new Refused(EX.usage, "recipients must be given on the command line or with -t");
  const host = ownHost();
  const sender = qualified(options.sender ?? ownUser(), host);
  const { fields, body } = await readMessage(terminal.input, { dotEnds: options.dotEnds }).catch((cause: unknown) => {
    throw cause instanceof HeaderTooLarge ? new Refused(EX.dataError, cause.message) : cause;
  });
  const recipients = [...options.recipients, ...(options.fromHeader ? recipientsIn(fields) : [])].map((address) =>
    qualified(address.replace(/^<(.*)>$/, "$1"), host),
  );
  if (recipients.length === 0) throw new Refused(EX.usage, "no recipient addresses found in the message's header");
  const from = sender === "" ? `MAILER-DAEMON@${host}` : sender;
  const header = headerText(fields, { sender: from, fullName: options.fullName, host, now: new Date() });
  const content = Readable.from(
    (async function* () {
      yield Buffer.from(header, "latin1");
      yield* body;
    })(),
    { objectMode: false },
  );
  const info = await transfer(options, await serverOf(options), sender, [...new Set(recipients)], content);
  if (options.verbose) terminal.output.write(`${info.response}\n`);
  let code = EX.ok;
  for (const refusal of (info.rejectedErrors ?? []) as readonly SmtpError[]) {
    say(`${refusal.recipient ?? "a recipient"}: ${refusal.message}`);
    code = refusalOf(refusal).code;
  }
  return code;
}

async function transfer(
  options: SendmailOptions,
  server: Endpoint,
  sender: string,
  recipients: readonly string[],
  content: Readable,
): Promise<SMTPConnectionSendInfo> {
  const password = passwordOf(options);
  const tls = options.tls ?? (server.port === 465 ? "implicit" : password === undefined ? "may" : "verify");
  const connection = new SMTPConnection({
    host: server.host,
    port: server.port,
    name: ownHost(),
    secure: tls === "implicit",
    requireTLS: tls === "verify",
    opportunisticTLS: tls === "may",
    tls: { rejectUnauthorized: tls !== "may" },
    connectionTimeout: 30_000,
    greetingTimeout: 60_000,
    // RFC 5321 §4.5.3.2.6: ten minutes for the reply to the message.
    socketTimeout: 600_000,
  });
  const { promise: failed, reject } = Promise.withResolvers<never>();
  failed.catch(() => undefined);
  connection.on("error", reject);
  const step = <Value>(begin: (done: (error?: Error | null, value?: Value) => void) => void): Promise<Value> =>
    Promise.race([
      failed,
      new Promise<Value>((resolve, refuse) =>
        begin((error, value) => (error ? refuse(error) : resolve(value as Value))),
      ),
    ]);
  try {
    await step<void>((done) => connection.connect(done));
    if (password !== undefined)
      await step<boolean>((done) => connection.login({ user: options.user ?? "", pass: password }, done));
    const { notify, envelopeId, return: returned } = options;
    const envelope = {
      from: sender === "" ? (false as const) : sender,
      to: [...recipients],
      use8BitMime: options.body === "8BITMIME",
      dsn: {
        ...(notify === undefined ? {} : { notify: [...notify] }),
        ...(envelopeId === undefined ? {} : { envid: envelopeId }),
        ...(returned === undefined ? {} : { ret: returned }),
      },
    };
    const info = await step<SMTPConnectionSendInfo>((done) => connection.send(envelope, content, done));
    connection.quit();
    return info;
  } catch (cause) {
    connection.close();
    throw cause;
  } finally {
    content.destroy();
  }
}

function passwordOf({ user, passwordFile }: SendmailOptions): string | undefined {
  if (user === undefined) return undefined;
  if (passwordFile === undefined) {
    const password = process.env["PACKETBOAT_PASSWORD"];
    if (password === undefined) throw new Refused(EX.usage, "--user needs --password-file or PACKETBOAT_PASSWORD");
    return password;
  }
  try {
    return readFileSync(passwordFile, "utf8").replace(/\r?\n$/, "");
  } catch (cause) {
    throw new Refused(EX.usage, `${passwordFile}: ${(cause as NodeJS.ErrnoException).code ?? "cannot be read"}`);
  }
}

/** What a failure means to the caller; what nobody knows is temporary. */
export function refusalOf(cause: SmtpError): { readonly code: number; readonly message: string } {
  const first = cause.rejectedErrors?.find(({ responseCode = 0 }) => responseCode < 500) ?? cause.rejectedErrors?.[0];
  const error = first ?? cause;
  const { responseCode } = error;
  const message = error.message;
  if (error.code === "EDNS") return { code: EX.noHost, message };
  if (responseCode === undefined || responseCode < 500) return { code: EX.temporary, message };
  if (error.code === "EAUTH" || responseCode === 530 || responseCode === 535) return { code: EX.noPermission, message };
  if (responseCode === 550 || responseCode === 551 || responseCode === 553 || / 5\.1\.\d/.test(message))
    return { code: EX.noUser, message };
  return { code: EX.unavailable, message };
}

/** -bs: the caller speaks SMTP itself, on standard input and output. */
function speak({ host, port }: Endpoint, { input, output }: Terminal): Promise<number> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let isOpen = false;
    socket.once("connect", () => (isOpen = true));
    socket.once("error", () => {
      // The caller waits for a greeting. RFC 5321 §3.8.
      if (!isOpen) output.write("421 4.3.2 No connection to the mail server\r\n");
    });
    socket.once("close", (isBroken) => resolve(isBroken ? EX.temporary : EX.ok));
    input.pipe(socket);
    socket.pipe(output, { end: false });
  });
}
