/**
 * Authenticator: the back ends of a shard, in order, and the mechanisms they can serve.
 *
 * Stands between the session's AUTH and the password sources. Each source is asked until one says yes, also after one said no: an unknown user and a wrong password
 * cost the same whichever of them knows the user. If none says yes and one could not tell, nobody can tell (454). Mailbox objects have the last word on who
 * may log in. Back ends follow the configuration: what changed is closed and opened anew, logins under way end on the old one.
 */
import { isDeepStrictEqual } from "node:util";
import type { AuthenticationSettings, LiveConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import type { TlsFacts } from "../policy/facts.ts";
import { DovecotSource } from "./dovecot.ts";
import { LdapSource } from "./ldap.ts";
import { addressOfLogin, mayLogIn } from "./login-name.ts";
import {
  type Attempt,
  type ClientEnd,
  HashSource,
  lookupHashes,
  mailboxHashes,
  type PasswordLookups,
  type PasswordSource,
} from "./password-source.ts";
import { clientFirst, loginMechanism, type Mechanism, plainMechanism } from "./sasl.ts";
import { saslPrep } from "../config/saslprep.ts";
import { scram } from "./scram.ts";
import { decoyVerifier, hasScramVerifiers, scramVerifierOf } from "./scram-verifiers.ts";
import { external } from "./external.ts";
import { PasswordVerifier } from "./verifier.ts";

export type CheckResult =
  | { readonly kind: "match"; readonly user: string; readonly source: PasswordSource["name"] }
  | { readonly kind: "mismatch" }
  | { readonly kind: "unavailable"; readonly why: string };

/** What a session knows of its client, for the choice of mechanisms. */
export interface Asker {
  readonly config: LiveConfig;
  readonly client: ClientEnd;
  readonly tls: TlsFacts | undefined;
  /** The mailbox its certificate logs in as. */
  readonly certificateUser: string | undefined;
}

const own: ReadonlySet<string> = new Set(["PLAIN", "LOGIN", "EXTERNAL"]);

export class Authenticator {
  readonly #log: Log;
  readonly #verifier: PasswordVerifier;
  readonly #mailboxes: HashSource;
  readonly #hashes: HashSource;
  readonly #lookups: () => PasswordLookups | undefined;
  #ldap: LdapSource | undefined;
  #dovecot: DovecotSource | undefined;
  #settings: AuthenticationSettings | undefined;

  /** `lookups`: those of the configuration of the moment. */
  constructor(
    log: Log,
    verifier: PasswordVerifier = new PasswordVerifier(log),
    lookups: () => PasswordLookups | undefined = () => undefined,
  ) {
    this.#lookups = lookups;
    this.#hashes = new HashSource(lookupHashes(lookups), verifier, log);
    this.#log = log;
    this.#verifier = verifier;
    this.#mailboxes = new HashSource(mailboxHashes, this.#verifier, log);
  }

  /** The configuration may have changed. */
  apply(config: LiveConfig): void {
    const before = this.#settings;
    const { ldap, dovecot } = (this.#settings = config.server.authentication);
    if (!isDeepStrictEqual(before?.ldap, ldap)) {
      void this.#ldap?.close();
      this.#ldap = ldap === undefined ? undefined : new LdapSource(ldap, this.#log);
    }
    if (!isDeepStrictEqual(before?.dovecot, dovecot)) {
      void this.#dovecot?.close();
      this.#dovecot = dovecot === undefined ? undefined : new DovecotSource(dovecot, this.#log);
    }
  }

  /** In the order in which they are asked. */
  #sources(): readonly PasswordSource[] {
    const mailboxes = this.#settings?.mailboxes === true ? this.#mailboxes : undefined;
    const hashes = this.#lookups()?.has("passwords") === true ? this.#hashes : undefined;
    return [mailboxes, hashes, this.#ldap, this.#dovecot].filter((source) => source !== undefined);
  }

  async check(attempt: Omit<Attempt, "user">): Promise<CheckResult> {
    const { config, username } = attempt;
    const whole: Attempt = { ...attempt, user: addressOfLogin(config, username) };
    let unavailable: string | undefined;
    for (const source of this.#sources()) {
      const answer = await source.check(whole);
      if (answer.kind === "unavailable") {
        this.#log.warn({ source: source.name, why: answer.why }, "auth-source-unavailable");
        unavailable ??= answer.why;
      } else if (answer.kind === "match" && mayLogIn(config, answer.user)) {
        return { kind: "match", user: answer.user, source: source.name };
      }
    }
    return unavailable === undefined ? { kind: "mismatch" } : { kind: "unavailable", why: unavailable };
  }

  /** What a client may be offered now: configured, and able to succeed. In the order of the configuration but strongest first where it matters to clients. */
  mechanisms(asker: Asker): ReadonlyMap<string, Mechanism> {
    const { config, tls, certificateUser } = asker;
    const settings = config.server.authentication;
    const wanted = new Set<string>(settings.mechanisms);
    const offered = new Map<string, Mechanism>();
    const hasPasswords = this.#sources().length > 0;
    if (wanted.has("PLAIN") && hasPasswords) offered.set("PLAIN", plainMechanism);
    if (wanted.has("LOGIN") && hasPasswords) offered.set("LOGIN", loginMechanism);
    if (wanted.has("SCRAM-SHA-256") && settings.mailboxes && hasScramVerifiers(config))
      this.#offerScram(offered, asker);
    if (wanted.has("EXTERNAL") && tls?.clientCertificate !== undefined && certificateUser !== undefined)
      offered.set("EXTERNAL", external(config, certificateUser));
    const dovecot = this.#dovecot;
    if (dovecot !== undefined)
      for (const name of dovecot.mechanisms)
        if (wanted.has(name) && !own.has(name) && !offered.has(name))
          offered.set(name, (initial) => dovecot.exchange(name, initial, asker));
    return offered;
  }

  #offerScram(offered: Map<string, Mechanism>, { config, tls }: Asker): void {
    const channelBinding = tls?.channelBinding;
    const lookUp = (username: string): ReturnType<Parameters<typeof scram>[0]["lookUp"]> => {
      const user = addressOfLogin(config, saslPrep(username));
      // Only its own Mailbox object can let a user in here: the verifier is of one.
      const verifier =
        user !== undefined && config.addresses.get(user)?.mailbox !== undefined && mayLogIn(config, user)
          ? scramVerifierOf(config, user)
          : undefined;
      return verifier === undefined
        ? { user: undefined, verifier: decoyVerifier(config, user ?? username) }
        : { user, verifier };
    };
    offered.set("SCRAM-SHA-256", clientFirst(scram({ plus: false, channelBinding, lookUp })));
    if (channelBinding !== undefined)
      offered.set("SCRAM-SHA-256-PLUS", clientFirst(scram({ plus: true, channelBinding, lookUp })));
  }

  async close(): Promise<void> {
    await Promise.all([this.#ldap?.close(), this.#dovecot?.close(), this.#verifier.close()]);
  }
}
