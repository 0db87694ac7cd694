/**
 * Ports: everything a session asks of the rest of the shard. One object, made once, shared by all sessions.
 */
import type { Authenticator } from "../auth/authenticator.ts";
import type { FailureCounts } from "../auth/failures.ts";
import type { Dns } from "../dns/resolver.ts";
import type { LiveConfig, Listener } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import type { Queue, QueuedMessage } from "../queue/queue.ts";
import type { StandingOf } from "../route/resolve.ts";
import type { TlsContexts } from "../tls/contexts.ts";
import type { Notices } from "./notices.ts";
import type { SharedState } from "./shared-state.ts";

/** DNS for checks, and the client's name. */
export interface Resolver extends Dns {
  /** A name of the address that leads back to it; bounded in time by who implements it. */
  reverse(address: string): Promise<string | undefined>;
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
  readonly notices: Notices;
  /** How long an answer waits once a client made more than softErrors mistakes. */
  readonly errorDelayMs: number;
}

/** A listener's settings, replaced when the configuration changes. */
export interface ListenerSettings {
  readonly current: Listener;
}
