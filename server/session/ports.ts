/**
 * Ports: everything a session asks of the rest of the shard. One object, made once, shared by all sessions.
 */
import type { FlushAnswer } from "../admin/domain-flush.ts";
import type { Authenticator } from "../auth/authenticator.ts";
import type { FailureCounts } from "../auth/failures.ts";
import type { Dns } from "../dns/resolver.ts";
import type { Delegate } from "../delegate/delegation.ts";
import type { ClientName } from "../dns/reverse.ts";
import type { LiveConfig, Listener } from "../config/schema.ts";
import type { Lookups } from "../lookup/lookups.ts";
import type { Log } from "../observe/log.ts";
import type { Greylist } from "../postscreen/greylist.ts";
import type { PassedClients } from "../postscreen/passed.ts";
import type { Queue, QueuedMessage } from "../queue/queue.ts";
import type { StandingOf } from "../route/resolve.ts";
import type { TlsContexts } from "../tls/contexts.ts";
import type { Verify } from "../verify/verifier.ts";
import type { ClientRates } from "./client-rates.ts";
import type { Load } from "./load.ts";
import type { Notices } from "./notices.ts";
import type { SharedState } from "./shared-state.ts";

/** DNS for checks, and the client's name. */
export interface Resolver extends Dns {
  /** The name of the address and its state; bounded in time by who implements it. */
  reverse(address: string): Promise<ClientName>;
}

export interface SessionPorts {
  /** The current configuration, asked again for every command. */
  readonly config: () => LiveConfig;
  readonly queue: Queue;
  /** A stored message, claimed, for the scheduler. */
  readonly onAccepted: (message: QueuedMessage) => void;
  readonly log: Log;
  readonly shared: SharedState;
  readonly resolver: Resolver;
  readonly authenticator: Authenticator;
  readonly failures: FailureCounts;
  readonly tls: TlsContexts;
  readonly standingOf: StandingOf;
  /** For owners of senders and access tables; absent: none. */
  readonly lookups?: () => Lookups;
  readonly notices: Notices;
  readonly load: Load;
  readonly rates: ClientRates;
  /** Clients that have passed postscreen. */
  readonly passedClients: PassedClients;
  readonly greylist: Greylist;
  /** Asks policy services; absent: none is asked. */
  readonly delegate?: Delegate;
  /** Asks whether an address exists; absent: none is verified. */
  readonly verify?: Verify;
  /** Make the waiting mail of a domain due, in the whole pod (ETRN). */
  readonly flushDomain: (domain: string) => Promise<FlushAnswer>;
  /** How long an answer waits once a client made more than softErrors mistakes. */
  readonly errorDelayMs: number;
}

/** A listener's settings, replaced when the configuration changes. */
export interface ListenerSettings {
  readonly current: Listener;
}
