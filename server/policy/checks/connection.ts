/**
 * Connection limits: how many connections the server and one client may hold.
 * Stage connect · asks SharedState · RFC 5321 §3.8 (421 at any time)
 *
 * The places taken are given back by the session at its end. A counter that cannot be asked lets the client in.
 */
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import { defer, pass } from "../verdict.ts";

export interface ConnectFacts {
  /** Take a place; true when there was one. */
  takePlace(of: "server" | "client"): Promise<boolean>;
}

export const tooManyConnections: Check<ConnectFacts> = async (facts) =>
  (await facts.takePlace("server")) ? pass : defer("too-many-connections", replies.tooManyConnections);

export const tooManyConnectionsOfClient: Check<ConnectFacts> = async (facts) =>
  (await facts.takePlace("client")) ? pass : defer("too-many-client-connections", replies.tooManyClientConnections);
