/**
 * What if: where mail for an address would go, with nothing sent.
 *
 * Asks the same functions as RCPT and the scheduler do (standing, expansion, transport, next hops, TLS requirement, the checks of the stages mail and
 * rcpt), with the configuration at hand, so that the answer is what would happen now. Look-ups and DNS are asked, no mail server is spoken to. Bounded like
 * expansion itself; next hops are looked up for the first destinations only. Postfix's `sendmail -bv`, without the mail.
 */
import type { LiveConfig } from "../config/schema.ts";
import { endpointText } from "../deliver/connect.ts";
import { nextHops } from "../deliver/next-hops.ts";
import { requirementFor } from "../deliver/tls-requirement.ts";
import { createLookups, type Lookups } from "../lookup/lookups.ts";
import { createLog } from "../observe/log.ts";
import { createResolver, type Dns, type DnsResult, type Resolver } from "../dns/resolver.ts";
import { decide } from "../policy/chain.ts";
import { ClientFacts } from "../policy/facts.ts";
import { stages } from "../policy/stages.ts";
import { replyLine } from "../reply.ts";
import { expand, recipientKey, replacedBy, widestExpansion } from "../route/expansion.ts";
import { routeReplies } from "../route/replies.ts";
import { leavesAs, type RewritingShown, rewritingShown } from "../rewrite/shown.ts";
import { standingOfRewritten } from "../rewrite/standing.ts";
import { findAddress } from "../route/lookup.ts";
import { type Ask, Asking } from "../route/asking.ts";
import { standingOf } from "../route/standing.ts";
import { transportFor } from "../route/transport.ts";
import type { Routing } from "../route/asked.ts";
import type { RecipientStanding, Transport } from "../route/resolve.ts";

export interface Branch {
  readonly address: string;
  /** Which kind of entry speaks for it, of objects or look-ups; unanswered: a look-up must know, and cannot be asked now. */
  readonly is: "mailbox" | "alias" | "catch-all" | "postmaster" | "relay" | "remote" | "nobody" | "unanswered";
  /** What stands in its place; absent where it is final. `again`: shown elsewhere in the tree, or itself. */
  readonly into?: readonly Branch[];
  readonly again?: true;
}

export interface Destination {
  readonly address: string;
  /** What the next hop is told instead of the address, and instead of the sender. */
  readonly leavesAs?: string;
  readonly senderLeavesAs?: string;
  /** What delivery would say at once: unknown, suspended, not configured. */
  readonly refused?: string;
  readonly transport?: string;
  readonly destination?: string;
  readonly tls?: {
    readonly level: string;
    readonly policy: string;
    readonly names?: readonly string[];
    readonly trouble?: string;
  };
  /** In the order they would be tried. */
  readonly nextHops?: readonly { readonly host: string; readonly endpoint: string; readonly preference?: number }[];
  /** Why there are none. */
  readonly noNextHop?: string;
}

export interface Verification {
  readonly address: string;
  readonly sender: string;
  /** Of the configuration that was asked. */
  readonly hash: string;
  readonly standing: string;
  /** For a client that is in no trusted network and has not authenticated. */
  readonly stranger: { readonly accepted: boolean; readonly reply: string; readonly check?: string };
  /** What canonical maps, masquerading and completion change; absent: nothing. */
  readonly rewriting?: RewritingShown;
  readonly tree: Branch;
  readonly destinations: readonly Destination[];
  /** Every destination takes it, as far as can be said without speaking to it. */
  readonly deliverable: boolean;
}

/** RFC 5737: nobody's address, so in no trusted network but one that trusts everybody. */
const STRANGER = "192.0.2.1";
/** Destinations whose next hops are looked up. */
const MOST_LOOKUPS = 20;

/** What look-ups have to tell stands in the answer. */
const log = createLog("verify", "silent");

/** With a resolver and look-ups of its own, so that what they say is not a kept answer. */
export async function verifyLive(
  config: LiveConfig,
  question: { readonly address: string; readonly sender: string },
): Promise<Verification> {
  const lookups = createLookups(config, log);
  try {
    const resolver = createResolver({ servers: () => config.server.outbound.resolvers });
    return await verifyAddress(config, resolver, question, { lookups, ask: new Asking(() => lookups, log).ask });
  } finally {
    await lookups.close();
  }
}

interface Known {
  readonly lookups: Lookups;
  readonly ask: Ask;
}

export async function verifyAddress(
  config: LiveConfig,
  resolver: Resolver,
  { address, sender: writtenSender }: { readonly address: string; readonly sender: string },
  known: Known,
): Promise<Verification> {
  const rewriting = rewritingShown(config, { address, sender: writtenSender });
  const [recipient, sender] = [rewriting.recipient ?? address, rewriting.sender ?? writtenSender];
  const { standing, expansion, tree } = await known.ask(config, (routing) => ({
    standing: standingOfRewritten(config, address, (each) => standingOf(routing, each)),
    expansion: expand(routing, recipient),
    tree: treeOf(routing, recipient),
  }));
  const destinations: Destination[] = [];
  if (rewriting.trouble !== undefined)
    destinations.push({ address, refused: `${replyLine(routeReplies.rewriting)}: ${rewriting.trouble}` });
  else if (expansion.kind === "fail") destinations.push({ address, refused: replyLine(expansion.reply) });
  else {
    const looked = new Map<string, Promise<Pick<Destination, "nextHops" | "noNextHop">>>();
    const described = expansion.addresses.map((final) => describe(config, known.ask, resolver, final, sender, looked));
    destinations.push(...(await Promise.all(described)));
  }
  return {
    address,
    sender: writtenSender,
    hash: config.hash,
    ...(Object.keys(rewriting).length === 0 ? {} : { rewriting }),
    standing:
      standing.kind === "local"
        ? `local (${standing.domainClass} domain)${standing.unverified === true ? ", if the server behind it says so" : ""}`
        : standing.kind === "remote"
          ? "remote (relaying)"
          : `refused: ${replyLine(standing.reply)}`,
    stranger: await askAsStranger(config, known, { address, sender: writtenSender, standing }),
    tree,
    destinations,
    deliverable: destinations.every(
      ({ refused, noNextHop, tls }) => refused === undefined && noNextHop === undefined && tls?.trouble === undefined,
    ),
  };
}

const found = <T>(answer: T): Promise<DnsResult<T>> =>
  Promise.resolve({ kind: "found", answers: [answer], authenticated: false, ttlSeconds: 60 });

/** The stranger is an honest one: whatever it names exists, and no block list knows it. */
const wellKnown: Dns = {
  mx: () => found({ preference: 0, exchange: "mail.example" }),
  addresses: () => found(STRANGER),
  hostAddresses: () => found(STRANGER),
  a: () => Promise.resolve({ kind: "nxdomain" }),
  txt: () => Promise.resolve({ kind: "nxdomain" }),
  pointer: () => found("client.example"),
};

async function askAsStranger(
  config: LiveConfig,
  { lookups, ask }: Known,
  {
    address,
    sender,
    standing,
  }: { readonly address: string; readonly sender: string; readonly standing: RecipientStanding },
): Promise<Verification["stranger"]> {
  const listener = config.server.listeners.find(({ role }) => role === "MX") ?? config.server.listeners[0];
  if (listener === undefined) return { accepted: false, reply: "no listener is configured" };
  const client = new ClientFacts({
    config: () => config,
    listener: () => listener,
    reverse: () => Promise.resolve({ kind: "named", name: "client.example" }),
    dns: wellKnown,
    standingOf: (each) =>
      ask(config, (routing) => standingOfRewritten(config, each, (other) => standingOf(routing, other))),
    lookups: () => lookups,
    address: STRANGER,
  });
  client.helo = { name: "client.example", extended: true };
  client.tls = { protocol: "TLSv1.3", cipher: "", bits: 256, servername: undefined, clientCertificate: undefined };
  const path = (text: string) => ({ address: text, international: /[^\p{ASCII}]/u.test(text) });
  const decision = await (async () => {
    const mail = await decide(stages.mail, {
      client,
      sender: path(sender),
      mail: { size: undefined, body: "8BITMIME", smtpUtf8: true, return: undefined, envelopeId: undefined },
      queueUnavailable: undefined,
    });
    if (mail.kind !== "pass") return mail;
    return await decide(stages.rcpt, {
      client,
      sender,
      recipient: path(address),
      rcpt: { notify: undefined, originalRecipient: undefined },
      recipients: 0,
      repeated: false,
      smtpUtf8: true,
      standing: () => standing,
    });
  })();
  const check = decision.check === undefined ? {} : { check: decision.check };
  if (decision.kind === "pass") return { accepted: true, reply: "250 OK", ...check };
  if (decision.kind === "discard") return { accepted: true, reply: "250 OK, then thrown away", ...check };
  return { accepted: false, reply: replyLine(decision.reply), ...check };
}

function treeOf(config: Routing, root: string): Branch {
  const seen = new Set<string>();
  const branch = (address: string, parent: string | undefined): Branch => {
    const key = recipientKey(address);
    const is = kindOf(config, address);
    if (key === parent || seen.has(key)) return { address, is, again: true };
    if (seen.size >= widestExpansion) return { address, is };
    seen.add(key);
    const into = replacedBy(config, address);
    return into === undefined ? { address, is } : { address, is, into: into.map((child) => branch(child, key)) };
  };
  return branch(root, undefined);
}

function kindOf(config: Routing, address: string): Branch["is"] {
  const found = findAddress(config, address);
  switch (found.kind) {
    case "remote":
    case "catch-all":
    case "postmaster":
    case "unanswered":
      return found.kind;
    case "any":
      return "relay";
    case "entry":
      return found.entry.mailbox !== undefined ? "mailbox" : found.entry.alias !== undefined ? "alias" : "nobody";
    case "not-an-address":
    case "unknown":
      return "nobody";
  }
}

async function describe(
  config: LiveConfig,
  ask: Ask,
  resolver: Resolver,
  address: string,
  sender: string,
  looked: Map<string, Promise<Pick<Destination, "nextHops" | "noNextHop">>>,
): Promise<Destination> {
  const resolution = await ask(config, (routing) => transportFor(routing, address, sender));
  if (resolution.kind === "fail") return { address, refused: replyLine(resolution.reply) };
  const { transport } = resolution;
  const { delivery, destination } = transport;
  if (delivery.kind === "error") return { address, transport: "error", refused: replyLine(delivery) };
  if (delivery.kind === "maildir" || delivery.kind === "discard" || delivery.kind === "hold")
    return { address, transport: delivery.kind, destination };
  const asked = requirementFor(config, transport, { requireTls: false });
  const policy = transport.tlsPolicyKey;
  const tls: Destination["tls"] =
    asked.kind === "refused"
      ? { level: "unknown", policy, trouble: replyLine(asked.reply) }
      : { level: asked.requirement.level, policy, names: asked.requirement.policy?.match ?? [] };
  let hops = looked.get(destination);
  if (hops === undefined && looked.size < MOST_LOOKUPS) {
    hops = lookUp(config, resolver, transport);
    looked.set(destination, hops);
  }
  const isSmtp = delivery.kind === "smtp" || delivery.kind === "mx";
  const [to, from] = isSmtp ? [leavesAs(config, address), leavesAs(config, sender)] : [];
  return {
    address,
    ...(to === undefined ? {} : { leavesAs: to }),
    ...(from === undefined ? {} : { senderLeavesAs: from }),
    transport: delivery.kind,
    destination,
    tls,
    ...(await hops),
  };
}

async function lookUp(
  config: LiveConfig,
  resolver: Resolver,
  transport: Transport,
): Promise<Pick<Destination, "nextHops" | "noNextHop">> {
  const found = await nextHops(config, resolver, transport);
  if (found.kind === "none") return { noNextHop: replyLine(found.reply) };
  return {
    nextHops: found.hops.map(({ endpoint, names, preference }) => ({
      host: names.host,
      endpoint: endpointText(endpoint),
      ...(preference === undefined ? {} : { preference }),
    })),
  };
}
