/**
 * Facts: what checks may know, gathered lazily and once.
 *
 * ClientFacts live as long as the connection and are read anew for each command where the configuration is concerned; the name of the client and
 * the fingerprints of its certificate are asked for once. MailFacts and RcptFacts add the command at hand. A look-up that fails is `undefined`
 * or rejects; checks turn that into `uncertain` where it matters.
 */
import { randomBytes } from "node:crypto";
import type { LiveConfig, Listener, RelayClientCertEntry } from "../config/schema.ts";
import type { Dns } from "../dns/resolver.ts";
import { type ClientName, plainName } from "../dns/reverse.ts";
import type { Delegate } from "../delegate/delegation.ts";
import type { Lookups } from "../lookup/lookups.ts";
import type { Greylist } from "../postscreen/greylist.ts";
import type { Screening } from "../postscreen/screening.ts";
import type { RecipientStanding } from "../route/resolve.ts";
import type { ClientRates, RateName } from "../session/client-rates.ts";
import type { MailParameters, RcptParameters } from "../session/parameters.ts";
import type { Verify } from "../verify/verifier.ts";
import type { Path } from "../session/path.ts";
import { clientGroup, isInNetworks } from "./networks.ts";

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
  /** What the client's address leads to, bounded in time by who implements it. */
  reverse(address: string): Promise<ClientName>;
  readonly dns: Dns;
  /** What our tables say of an address. */
  standingOf(address: string): RecipientStanding | Promise<RecipientStanding>;
  readonly address: string;
  /** A trusted proxy has said all this of it (XCLIENT). */
  readonly isSpokenFor?: boolean;
  readonly port?: number;
  /** Where it connected to. */
  readonly server?: { readonly address: string; readonly port: number };
  /** Absent: no policy service is asked. */
  readonly delegate?: Delegate;
  /** Whether the server has more connections than it likes. */
  readonly isStressed?: () => boolean;
  /** Absent: no address is verified. */
  readonly verify?: Verify;
  /** Absent: none is asked. */
  readonly lookups?: () => Lookups;
  /** Absent: nothing is counted. */
  readonly rates?: ClientRates;
  /** Absent: nobody is greylisted. */
  readonly greylist?: Greylist;
}

/** The resolver has its own bounds; this one keeps a broken one from holding up mail. */
const NAME_WAIT_MS = 5000;

function withinTime<T>(answer: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), NAME_WAIT_MS);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Whoever answered: a name that no host may have is none, and confirms nothing. */
function plainNaming(answer: ClientName): ClientName {
  if (!("name" in answer) || answer.name === undefined) return answer;
  const name = plainName(answer.name);
  if (name !== undefined) return { kind: answer.kind, name };
  return answer.kind === "named"
    ? { kind: "none" }
    : answer.kind === "temporary"
      ? { kind: "temporary" }
      : { kind: "unconfirmed", name: "" };
}

export class ClientFacts {
  readonly address: string;
  helo: { readonly name: string; readonly extended: boolean } | undefined;
  tls: TlsFacts | undefined;
  /** The mailbox address the session has authenticated as. */
  user: string | undefined;
  /** The SASL mechanism it used, or uses. */
  mechanism: string | undefined;
  /** It has sent octets behind a command whose answer it had to wait for (RFC 2920 §3.1). */
  pipelinedTooEarly = false;
  /** What postscreen has seen of it; undefined: it did not look. */
  screening: Pick<Screening, "refusal" | "isAllowlisted" | "hidesPipelining"> | undefined;
  #instance: string | undefined;
  readonly #source: ClientFactsSource;
  #name: Promise<ClientName> | undefined;

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

  get dns(): Dns {
    return this.#source.dns;
  }

  /** One of the listener's trustedProxies, speaking for itself: it brings the mail of many, and no limit of one client is meant for it. */
  get isTrustedProxy(): boolean {
    return !this.isSpokenFor && isInNetworks(this.listener.trustedProxies ?? [], this.address);
  }

  get isSpokenFor(): boolean {
    return this.#source.isSpokenFor ?? false;
  }

  get port(): number | undefined {
    return this.#source.port;
  }

  get server(): ClientFactsSource["server"] {
    return this.#source.server;
  }

  get greylist(): Greylist | undefined {
    return this.#source.greylist;
  }

  /** Whom limits count together with it. */
  get group(): string {
    return clientGroup(this.address, this.config.server.limits.clientPrefix);
  }

  /** Counts one more of these, and tells whether it is one too many. */
  exceeds(name: RateName): boolean | Promise<boolean> {
    if (this.isTrustedProxy) return false;
    return this.#source.rates?.exceeds(this.config.server.limits, this.address, name) ?? false;
  }

  get delegate(): Delegate | undefined {
    return this.#source.delegate;
  }

  /** Those of the configuration of the moment. */
  get lookups(): Lookups | undefined {
    return this.#source.lookups?.();
  }

  get isStressed(): boolean {
    return this.#source.isStressed?.() === true;
  }

  get verify(): Verify | undefined {
    return this.#source.verify;
  }

  /** Names one message for policy services: the same until the transaction is over. */
  get instance(): string {
    return (this.#instance ??= randomBytes(8).toString("hex"));
  }

  forgetInstance(): void {
    this.#instance = undefined;
  }

  standing(address: string): RecipientStanding | Promise<RecipientStanding> {
    return this.#source.standingOf(address);
  }

  /** The client's name and its state, asked for once; temporary where the answer did not come. */
  naming(): Promise<ClientName> {
    this.#name ??= withinTime(this.#source.reverse(this.address)).then(
      (answer) => plainNaming(answer ?? { kind: "temporary" }),
      (): ClientName => ({ kind: "temporary" }),
    );
    return this.#name;
  }

  /** The client's name where it is confirmed; undefined when it has none or the answer did not come. */
  async name(): Promise<string | undefined> {
    const naming = await this.naming();
    return naming.kind === "named" ? naming.name : undefined;
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
  /** SIZE of MAIL. */
  readonly declaredSize?: number | undefined;
  standing(): RecipientStanding;
}

/** At DATA, and at the first BDAT. */
export interface DataFacts {
  readonly client: ClientFacts;
  readonly sender: string;
  /** Those that were accepted, without those that were dropped. */
  readonly recipients: readonly string[];
  readonly declaredSize: number | undefined;
}

/** When the message is there, before it is stored. */
export interface EndFacts extends DataFacts {
  readonly id: string;
  readonly instance: string;
  /** Octets that came. */
  readonly size: number;
}

/** At ETRN (RFC 1985). */
export interface EtrnFacts {
  readonly client: ClientFacts;
  /** Lower case, without `@`. */
  readonly domain: string;
}

/** What the named checks of MailServer.spec.restrictions may look at, whichever stage asks them; what is not yet known is undefined, and nothing is said about it. */
export interface RestrictionFacts {
  readonly client: ClientFacts;
  /** "" is the null sender. */
  readonly sender: string | undefined;
  /** At RCPT. */
  readonly rcpt: RcptFacts | undefined;
  /** At DATA. */
  readonly data?: DataFacts;
  /** Recipients the transaction has. */
  readonly recipients: number;
  /** Argument of ETRN. */
  readonly domain: string | undefined;
}
