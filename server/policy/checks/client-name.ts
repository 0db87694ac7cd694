/**
 * The client's name in DNS: has its address one, and does that lead back?
 * List client · asks DNS, once a connection · postconf(5) reject_unknown_client_hostname and its kin; RFC 7372 §3.3 (X.7.25)
 *
 * RFC 1912 asks for both; many honest servers lack them, so the refusal is temporary, as Postfix's unknown_client_reject_code.
 */
import type { ClientName } from "../../dns/reverse.ts";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { RestrictionFacts } from "../facts.ts";
import { defer, pass, uncertain, type Verdict } from "../verdict.ts";

const judged =
  (judge: (name: ClientName, address: string) => Verdict): Check<RestrictionFacts> =>
  ({ client }) =>
    client.naming().then((name) => judge(name, client.address));

const unknown = "unknown-client-name";

/** No name, one that does not lead back, or one that nobody could follow. */
export const unknownClientHostname = judged((name, address) => {
  if (name.kind === "named") return pass;
  const reply = replies.clientNameUnknown(address);
  return name.kind === "temporary" ? uncertain(unknown, reply) : defer(unknown, reply);
});

/** No name at all: a name that does not lead back is enough. */
export const unknownReverseClientHostname = judged((name, address) => {
  const reply = replies.clientReverseNameUnknown(address);
  if (name.kind === "temporary") return name.name === undefined ? uncertain(unknown, reply) : pass;
  return name.kind === "none" ? defer(unknown, reply) : pass;
});

/** A name that does not lead back; a client without any is no matter of this check. */
export const unknownForwardClientHostname = judged((name, address) => {
  const reply = replies.clientNameUnknown(address);
  if (name.kind === "temporary") return uncertain(unknown, reply);
  return name.kind === "unconfirmed" ? defer(unknown, reply) : pass;
});
