/**
 * What the embedded default says when it takes mail: where it listens, and the exact lines to type to send, to read and to submit.
 *
 * Stands in local/, pure: the rendered configuration and where it runs → text. Every command line works as it is printed, also for other manifests than
 * the quickstart's; what a configuration does not have (no mailbox, no submission) is left out.
 */
import type { RenderedConfig } from "../../server/config/schema.ts";
import { ADMIN_PORT } from "../build/ports.ts";

export interface Surroundings {
  readonly offset: number;
  /** As the person would type it: relative where that is shorter. */
  readonly dataFolder: string;
  readonly manifestsFolder: string;
  readonly logFile: string;
  /** A mailbox that can submit, and the Secret that holds its password, which itself is never printed. */
  readonly submitter: { readonly address: string; readonly secretName: string } | undefined;
}

const quoted = (text: string): string =>
  /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
/** An address that means the same in a shell line, in printf's format and in a folder's name. */
const isPlain = (address: string): boolean => /^[a-z0-9][a-z0-9._+-]*@[a-z0-9.-]+$/.test(address);

/** The folder of the first mailbox that is delivered to a maildir. */
function firstMaildir(
  config: RenderedConfig,
  dataFolder: string,
): { readonly address: string; readonly folder: string } | undefined {
  for (const [address, entry] of Object.entries(config.tables.addresses).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const at = address.lastIndexOf("@");
    const delivery = entry.mailbox?.delivery ?? config.tables.domains[address.slice(at + 1)]?.delivery;
    if (isPlain(address) && entry.mailbox?.suspended === false && delivery?.kind === "maildir") {
      return { address, folder: `${dataFolder}/${delivery.base}/${address.slice(at + 1)}/${address.slice(0, at)}` };
    }
  }
  return undefined;
}

const roleWords = {
  MX: "mail from anywhere",
  Submission: "mail from your users",
  Reinject: "mail back from a filter",
  LMTP: "LMTP",
} as const;

export function readyText(config: RenderedConfig, around: Surroundings): string {
  const port = (role: "MX" | "Submission", mode?: "Implicit" | "StartTLS"): number | undefined => {
    const found = config.server.listeners.find(
      (listener) => listener.role === role && (mode === undefined || listener.tls.mode === mode),
    );
    return found === undefined ? undefined : found.port + around.offset;
  };
  const mailbox = firstMaildir(config, around.dataFolder);
  const recipient =
    mailbox?.address ?? Object.keys(config.tables.addresses).find(isPlain) ?? `postmaster@${config.server.hostname}`;
  const [mx, submissions, submission] = [port("MX"), port("Submission", "Implicit"), port("Submission", "StartTLS")];
  const lines: string[] = ["Packetboat is ready.", ""];
  for (const listener of config.server.listeners) {
    const tls = { None: "no TLS", StartTLS: "STARTTLS", Implicit: "TLS" }[listener.tls.mode];
    lines.push(
      `  ${`127.0.0.1:${listener.port + around.offset}`.padEnd(16)} ${`[::1]:${listener.port + around.offset}`.padEnd(12)} ${listener.name}: ${roleWords[listener.role]}, ${tls}`,
    );
  }
  lines.push(
    `  http://127.0.0.1:${ADMIN_PORT + around.offset}/metrics   metrics; also /healthz, /readyz, /config, /queue`,
    "",
  );

  if (mx !== undefined) {
    lines.push(
      `Send to ${recipient} (with swaks; with nothing but curl):`,
      `  swaks --server 127.0.0.1:${mx} --from you@example.net --to ${quoted(recipient)} --header 'Subject: Ahoy' --body 'It floats.'`,
      `  printf 'From: you@example.net\\r\\nTo: ${recipient}\\r\\nSubject: Ahoy\\r\\n\\r\\nIt floats.\\r\\n' | curl -sS smtp://127.0.0.1:${mx} --mail-from you@example.net --mail-rcpt ${quoted(recipient)} -T -`,
      "",
    );
  }
  if (mailbox !== undefined) lines.push("Read it:", `  cat ${quoted(mailbox.folder)}/new/*`, "");
  const url =
    submissions === undefined
      ? submission === undefined
        ? undefined
        : `smtp://127.0.0.1:${submission} --ssl-reqd`
      : `smtps://127.0.0.1:${submissions}`;
  if (around.submitter !== undefined && isPlain(around.submitter.address) && url !== undefined) {
    const { address, secretName } = around.submitter;
    lines.push(
      `Submit as ${address} (curl asks for the password, the one in Secret ${secretName}; -k because the certificate may be self-signed):`,
      `  printf 'From: ${address}\\r\\nTo: ${recipient}\\r\\nSubject: Submitted\\r\\n\\r\\nHello.\\r\\n' | curl -sSk ${url} -u ${address} --mail-from ${address} --mail-rcpt ${recipient} -T -`,
      "",
    );
  }
  lines.push(
    `Edit the files in ${around.manifestsFolder} and the change is live at once. Log: ${around.logFile}. Ctrl-C ends it.`,
  );
  return `${lines.join("\n")}\n`;
}
