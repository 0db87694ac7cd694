/**
 * Remote: the shared state of several pods, in a server of its own.
 *
 * A port: Redis is behind it (redis-remote.ts), a table in tests. Each question ends by itself with an answer or an error; whoever asks (pod-state.ts) has a deadline of
 * its own and goes on without. All that is kept ends by itself too: windows and texts with their time, places when the pod that holds them no longer says so.
 */
export interface Remote {
  /** This pod wants to hold `own` places of the key; false, and nothing is changed, when all pods together would hold more than `limit`. */
  claim(key: string, own: number, limit: number): Promise<boolean>;
  /** This pod holds so many places: after giving some back, and again and again while it lives. */
  hold(key: string, own: number): Promise<void>;
  /** Count in a fixed window; its total. */
  add(key: string, amount: number, windowMs: number): Promise<number>;
  remember(key: string, value: string, ttlMs: number): Promise<void>;
  recall(key: string): Promise<string | undefined>;
  /** Is somebody there? */
  ping(): Promise<void>;
  /** The connection hangs: begin a new one. */
  reconnect(): void;
  close(): void;
}

/** How long a place is held for a pod that says nothing more of it. */
export const LEASE_MS = 30_000;
