/**
 * A setup: the same wish written for Postfix (main.cf, maps) and for Packetboat (manifests), with the dialogues that are had with both.
 *
 * Both hand all mail to a sink of their own on loopback; who got which message is read there.
 */
import { createHash, X509Certificate } from "node:crypto";
import { object, secret } from "../../integration/manifests.ts";
import type { Dialogue, KeyPair, Step } from "./transcript.ts";

/** What a setup is written with: where mail goes, and who shows which certificate. */
export interface Surroundings {
  /** The side's own port of the sink. */
  readonly sink: number;
  readonly certificates: Readonly<Record<string, KeyPair>>;
  /** Ports of the setup's peers, by name. */
  readonly peers: Readonly<Record<string, number>>;
  /** Address of the DNS server that both ask, at port 53. */
  readonly nameserver?: string;
}

/** Something beside the servers: a database, a login service. */
export interface Peer extends AsyncDisposable {
  readonly port: number;
}

export interface Pair {
  /** One letter or word; prefix of its dialogues' ids. */
  readonly name: string;
  /** What it is about. */
  readonly title: string;
  readonly certificates?: readonly string[];
  readonly peers?: Readonly<Record<string, () => Promise<Peer>>>;
  /** Why its peers cannot be had; undefined: they can. */
  readonly missing?: () => string | undefined;
  readonly postfix: (surroundings: Surroundings) => {
    readonly main: string;
    readonly files?: Readonly<Record<string, string>>;
    /** smtpd options of ports 587 and 465, where there are any. */
    readonly submission?: Readonly<Record<string, string>>;
  };
  readonly packetboat: (surroundings: Surroundings) => string;
  /** Asked once the peers are there: the address of a DNS server at port 53 that Postfix asks. */
  readonly nameserver?: (peers: Readonly<Record<string, Peer>>) => string;
  readonly dialogues: readonly Dialogue[];
  /** What an event of a dialogue does to the peers; both sides stand still meanwhile. */
  readonly events?: Readonly<Record<string, (peers: Readonly<Record<string, Peer>>) => Promise<void>>>;
}

export const trusted = { address: "127.0.0.2" };
export const stranger = { address: "127.0.0.9" };

/** What every main.cf says that does not say otherwise: nothing depends on the machine, and mail leaves for the sink. */
export const base = (sink: number): Readonly<Record<string, string>> => ({
  mydestination: "",
  mynetworks: `${trusted.address}/32`,
  alias_maps: "",
  alias_database: "",
  local_recipient_maps: "",
  local_transport: "error:local mail delivery is disabled",
  relayhost: `[127.0.0.1]:${sink}`,
  smtp_tls_security_level: "none",
  smtpd_error_sleep_time: "0",
  smtpd_client_connection_count_limit: "0",
});

/** The lines of main.cf about the test certificate. */
export const serverTls = `smtpd_tls_security_level = may
smtpd_tls_cert_file = \${config_directory}/server.crt
smtpd_tls_key_file = \${config_directory}/server.key
smtpd_tls_auth_only = yes
`;

export const texthash = (entries: readonly (readonly [key: string, value: string])[]): string =>
  entries.map(([key, value]) => `${key} ${value}\n`).join("");

/** MailServer `mx`, its certificate, and that all outgoing mail goes to the sink. */
export const mailServer = (
  { sink, certificates }: Surroundings,
  spec: { readonly outbound?: object; readonly [member: string]: unknown },
): string =>
  object("MailServer", "mx", {
    networks: { trusted: [`${trusted.address}/32`] },
    tls: { certificates: [{ secretName: "server" }] },
    ...spec,
    outbound: { relayHost: { host: "127.0.0.1", port: sink }, ...spec.outbound },
  }) +
  secret("server", {
    "tls.crt": certificates["server"]?.certificate ?? "",
    "tls.key": certificates["server"]?.privateKey ?? "",
  });

/** A MailDomain that hands its mail to the sink. */
export const domain = (
  { sink }: Surroundings,
  name: string,
  spec: { readonly class: string; readonly [member: string]: unknown },
): string =>
  object("MailDomain", name.replaceAll(".", "-"), {
    domain: name,
    serverRef: { name: "mx" },
    ...(spec.class === "Alias" ? {} : { delivery: { smtp: { host: "127.0.0.1", port: sink } } }),
    ...spec,
  });

export const mailbox = (address: string, spec: object = {}): string =>
  object("Mailbox", address.toLowerCase().replaceAll(/[^a-z0-9]/g, "-"), {
    address,
    domainRef: { name: address.slice(address.indexOf("@") + 1).replaceAll(".", "-") },
    ...spec,
  });

/** SHA-256 of a certificate as RelayClientCert takes it; Postfix wants colons. */
export const fingerprint = (pair: KeyPair | undefined): string =>
  createHash("sha256")
    .update(new X509Certificate(pair?.certificate ?? "").raw)
    .digest("hex");
export const colons = (hex: string): string => (hex.toUpperCase().match(/../g) ?? []).join(":");

/** A message that is complete. */
export const message: Step = {
  message:
    "From: bob@example.com\nTo: you@example.com\nSubject: oracle\nDate: Fri, 2 Jan 2026 03:04:05 +0000\nMessage-ID: <1@example.com>\n\nbody",
};

/** EHLO, MAIL, RCPT …, DATA and the message. What stands in brackets is said as it stands. */
export function mail(
  to: string | readonly string[],
  options: { readonly from?: string; readonly helo?: string; readonly parameters?: string } = {},
): readonly Step[] {
  const { from = "bob@sender.example", helo = "EHLO client.example.com", parameters = "" } = options;
  return [
    helo,
    `MAIL FROM:<${from}>${parameters}`,
    ...(typeof to === "string" ? [to] : to).map((each) => `RCPT TO:${each.includes("<") ? each : `<${each}>`}`),
    message,
    "QUIT",
  ];
}

/** The same table for each of these clients. */
export const crossed = (
  prefix: string,
  clients: Readonly<Record<string, Dialogue["client"]>>,
  table: Readonly<Record<string, readonly Step[]>>,
): readonly Dialogue[] =>
  Object.entries(table).flatMap(([name, steps]) =>
    Object.entries(clients).map(([who, client]) => ({ id: `${prefix}/${name}/${who}`, client, steps })),
  );

export const authPlain = (user: string, password: string): string =>
  `AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString("base64")}`;
