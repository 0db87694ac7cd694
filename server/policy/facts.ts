/**
 * Facts: what checks may know, gathered lazily and once.
 *
 * ClientFacts live as long as the connection and are read anew for each command where the configuration is concerned; the name of the client and
 * the fingerprints of its certificate are asked for once. MailFacts and RcptFacts add the command at hand. A look-up that fails is `undefined`
 * or rejects; checks turn that into `uncertain` where it matters.
 */
import type { LiveConfig, Listener, RelayClientCertEntry } from "../config/schema.ts";
import type { RecipientStanding } from "../route/resolve.ts";
import type { MailParameters, RcptParameters } from "../session/parameters.ts";
import type { Path } from "../session/path.ts";
import { isInNetworks } from "./networks.ts";

export interface TlsFacts {
  readonly protocol: string;
  readonly cipher: string;
  readonly bits: number;
  /** SNI. */
  readonly servername: string | undefined;
  /** Lower-case hex SHA-256 of the client's certificate and of its public key; undefined when it showed none. */
  readonly clientCertificate: { readonly certificate: string; readonly publicKey: string } | undefined;
  /** tls-exporter octets of this connection (RFC 9266); absent where the protocol cannot give them. */
  readonly channelBinding?: () => Buffer | undefined;
}

export interface ClientFactsSource {
  config(): LiveConfig;
  listener(): Listener;
  /** A name whose addresses hold the client's, bounded in time by who implements it. */
  reverse(address: string): Promise<string | undefined>;
  readonly address: string;
}

/** RFC 5321 §2.3.5, with the underscore that real PTR records hold; it goes into logs and the Received field. */
const hostname = /^[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*$/;

/** The resolver has its own bounds; this one keeps a broken one from holding up mail. */
const NAME_WAIT_MS = 5000;

function withinTime<T>(answer: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), NAME_WAIT_MS);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

export class ClientFacts {
  readonly address: string;
  helo: { readonly name: string; readonly extended: boolean } | undefined;
  tls: TlsFacts | undefined;
  /** The mailbox address the session has authenticated as. */
  user: string | undefined;
  readonly #source: ClientFactsSource;
  #name: Promise<string | undefined> | undefined;

  constructor(source: ClientFactsSource) {
    this.#source = source;
    this.address = source.address;
  }

  get config(): LiveConfig {
    return this.#source.config();
  }

  get listener(): Listener {
    return this.#source.listener();
  }

  /** The client's name by reverse look-up; undefined when it has none or the answer did not come. */
  name(): Promise<string | undefined> {
    this.#name ??= withinTime(this.#source.reverse(this.address)).then(
      (name) => {
        const plain = name?.toLowerCase().replace(/\.$/, "");
        return plain !== undefined && plain.length <= 253 && hostname.test(plain) ? plain : undefined;
      },
      () => undefined,
    );
    return this.#name;
  }

  isInTrustedNetwork(): boolean {
    return isInNetworks(this.config.server.trustedNetworks, this.address);
  }

  /** The RelayClientCert of the certificate this client showed, unless it has expired. */
  relayCertificate(nowMs: number = Date.now()): RelayClientCertEntry | undefined {
    const shown = this.tls?.clientCertificate;
    if (shown === undefined) return undefined;
    const { relayClientCerts } = this.config;
    const entry =
      relayClientCerts.get(`certificate:${shown.certificate}`) ?? relayClientCerts.get(`publickey:${shown.publicKey}`);
    if (entry?.expires === undefined) return entry;
    // An instant that cannot be read is NaN: not later than now, hence expired.
    return Date.parse(entry.expires) > nowMs ? entry : undefined;
  }
}

export interface MailFacts {
  readonly client: ClientFacts;
  readonly sender: Path;
  readonly mail: MailParameters;
  /** Why the queue takes nothing now. */
  readonly queueUnavailable: "full" | "failed" | "closed" | undefined;
}

export interface RcptFacts {
  readonly client: ClientFacts;
  /** "" is the null sender. */
  readonly sender: string;
  readonly recipient: Path;
  readonly rcpt: RcptParameters;
  /** Recipients this transaction already has. */
  readonly recipients: number;
  /** The same address was accepted before in this transaction. */
  readonly repeated: boolean;
  readonly smtpUtf8: boolean;
  standing(): RecipientStanding;
}
