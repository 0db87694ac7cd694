/**
 * Connection limits: how many connections the server and one client may hold.
 * Stage connect · RFC 5321 §3.8 (421 at any time)
 *
 * The session takes the places beforehand and gives them back at its end. A counter that cannot be asked lets the client in.
 */
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import { defer, pass } from "../verdict.ts";

export interface ConnectFacts {
  /** Whether there was a place for it. */
  readonly hasPlace: { readonly server: boolean; readonly client: boolean };
}

export const tooManyConnections: Check<ConnectFacts> = ({ hasPlace }) =>
  hasPlace.server ? pass : defer("too-many-connections", replies.tooManyConnections);

export const tooManyConnectionsOfClient: Check<ConnectFacts> = ({ hasPlace }) =>
  hasPlace.client ? pass : defer("too-many-client-connections", replies.tooManyClientConnections);
