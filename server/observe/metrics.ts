/**
 * Metrics of a shard: every name, its labels and its meaning in one place (docs/metrics.md is checked against it).
 *
 * Shards count; the primary adds them up (`aggregate.ts`) so that a scrape sees one server. Label values come from closed sets or the
 * configuration, never from a stranger's input. Durations are histograms in seconds, sizes in bytes.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";

export const registry = new Registry();
const registers = [registry];

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

export const connections = new Counter({
  name: "packetboat_connections_total",
  help: "Connections opened, by listener.",
  labelNames: ["listener"] as const,
  registers,
});
export const connectionsOpen = new Gauge({
  name: "packetboat_connections_open",
  help: "Connections open now, by listener.",
  labelNames: ["listener"] as const,
  registers,
});
export const stress = new Gauge({
  name: "packetboat_stress",
  help: "Shards that are under stress: four fifths of limits.connections are taken, and idle or erring clients are sent away soon.",
  registers,
});
export const messagesAccepted = new Counter({
  name: "packetboat_messages_accepted_total",
  help: "Messages answered 250, by listener.",
  labelNames: ["listener"] as const,
  registers,
});
export const bytesAccepted = new Counter({
  name: "packetboat_accepted_bytes_total",
  help: "Octets of accepted messages.",
  labelNames: ["listener"] as const,
  registers,
});
export const rejected = new Counter({
  name: "packetboat_rejected_total",
  help: "Commands or messages refused, by listener, stage (connect, helo, mail, rcpt, data, auth, etrn) and reason.",
  labelNames: ["listener", "stage", "reason", "class"] as const,
  registers,
});
export const policyServiceAnswers = new Counter({
  name: "packetboat_policy_service_answers_total",
  help: "Questions to policy services, by service and result: answered, unavailable, unreadable. The last two became the default action.",
  labelNames: ["service", "result"] as const,
  registers,
});
export const policyServiceSeconds = new Histogram({
  name: "packetboat_policy_service_seconds",
  help: "From a question to a policy service to its answer, waiting and tries included.",
  labelNames: ["service"] as const,
  buckets: seconds,
  registers,
});
export const addressProbes = new Counter({
  name: "packetboat_address_probes_total",
  help: "Questions to other servers whether an address exists, by result: deliverable, undeliverable, down (nobody could say).",
  labelNames: ["result"] as const,
  registers,
});
export const verifications = new Counter({
  name: "packetboat_address_verifications_total",
  help: "Addresses that had to be verified, by result (deliverable, undeliverable, unknown) and from where it was known: memory, probe.",
  labelNames: ["result", "from"] as const,
  registers,
});
export const authentications = new Counter({
  name: "packetboat_authentications_total",
  help: "AUTH outcomes: success, failure, unavailable.",
  labelNames: ["listener", "result"] as const,
  registers,
});
export const tlsSessions = new Counter({
  name: "packetboat_tls_sessions_total",
  help: "TLS handshakes completed, inbound or outbound, by protocol.",
  labelNames: ["direction", "protocol"] as const,
  registers,
});
export const tlsErrors = new Counter({
  name: "packetboat_tls_errors_total",
  help: "TLS handshakes failed.",
  labelNames: ["direction"] as const,
  registers,
});
export const acceptSeconds = new Histogram({
  name: "packetboat_accept_seconds",
  help: "From the end of data to the 250, sync included.",
  buckets: seconds,
  registers,
});
export const commitSeconds = new Histogram({
  name: "packetboat_queue_commit_seconds",
  help: "One group commit of the queue, sync included.",
  buckets: seconds,
  registers,
});
export const commitItems = new Histogram({
  name: "packetboat_queue_commit_items",
  help: "Messages and settlements that shared one commit.",
  buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500],
  registers,
});
export const deliveries = new Counter({
  name: "packetboat_deliveries_total",
  help: "Delivery attempts of recipients, by transport (smtp, lmtp, maildir, discard, error, hold) and result (delivered, deferred, failed).",
  labelNames: ["transport", "result"] as const,
  registers,
});
export const deliverySeconds = new Histogram({
  name: "packetboat_delivery_seconds",
  help: "One delivery attempt, connection included.",
  labelNames: ["transport"] as const,
  buckets: seconds,
  registers,
});
export const latencySeconds = new Histogram({
  name: "packetboat_message_latency_seconds",
  help: "From acceptance to the final reply of a delivered recipient.",
  buckets: [...seconds, 3600, 14400, 86400],
  registers,
});
export const possibleDuplicates = new Counter({
  name: "packetboat_possible_duplicates_total",
  help: "Recipients that may get a message twice, by cause (unrecorded: delivered, but the result could not be stored; late: delivered after the delivery was given up; restart: under way when the process ended).",
  labelNames: ["cause"] as const,
  registers,
});
export const schedulerStalled = new Gauge({
  name: "packetboat_scheduler_stalled",
  help: "Steps of the scheduler that take longer than they ever should, by what (delivery, settlement, claim, poll, waiting, lost).",
  labelNames: ["what"] as const,
  registers,
});
export const bounces = new Counter({
  name: "packetboat_reports_total",
  help: "Delivery status notifications written, by kind (failure, delay, cleared, success).",
  labelNames: ["kind"] as const,
  registers,
});
export const queueMessages = new Gauge({
  name: "packetboat_queue_messages",
  help: "Messages in the queue by state (active, deferred, hold, corrupt).",
  labelNames: ["state"] as const,
  registers,
});
export const queueRecipients = new Gauge({
  name: "packetboat_queue_recipients",
  help: "Recipients not yet settled.",
  registers,
});
export const queueBytes = new Gauge({ name: "packetboat_queue_bytes", help: "Octets of queued messages.", registers });
export const queueOldestSeconds = new Gauge({
  name: "packetboat_queue_oldest_seconds",
  help: "Age of the oldest message in the queue.",
  aggregator: "max",
  registers,
});
export const queueUnavailable = new Gauge({
  name: "packetboat_queue_unavailable",
  help: "1 while the shard takes no mail, by reason (full, failed).",
  labelNames: ["reason"] as const,
  registers,
});
export const certificateProblems = new Gauge({
  name: "packetboat_certificate_problems",
  help: "Server certificates that are expired or unusable, by reason (expired, unusable).",
  labelNames: ["reason"] as const,
  registers,
});
export const lookupSeconds = new Histogram({
  name: "packetboat_lookup_seconds",
  help: "One question to a source of lookups, by its name, role (domains, mailboxes, aliases, transports, tlsPolicies, access, senders, passwords) and result (found, missing, unavailable). Answers from the cache are not counted.",
  labelNames: ["lookup", "role", "result"] as const,
  buckets: seconds,
  registers,
});
export const lookupAvailable = new Gauge({
  name: "packetboat_lookup_available",
  help: "0 while no host of this source of lookups answers, as seen by the shard that sees least.",
  labelNames: ["lookup"] as const,
  aggregator: "min",
  registers,
});
export const dnsblQueries = new Counter({
  name: "packetboat_dnsbl_queries_total",
  help: "Questions to DNS lists, by list and result (listed, clear, unanswered, refused: the list does not answer this resolver, implausible: outside 127.0.0.0/8).",
  labelNames: ["list", "result"] as const,
  registers,
});
export const postscreenTests = new Counter({
  name: "packetboat_postscreen_tests_total",
  help: "Tests of clients before and after the greeting, by listener, test (access, pregreet, dnsbl, pipelining, command, newline) and result (pass, ignore, enforce, drop).",
  labelNames: ["listener", "test", "result"] as const,
  registers,
});
export const postscreenClients = new Counter({
  name: "packetboat_postscreen_clients_total",
  help: "Clients that came to postscreen, by listener and what became of them before the greeting (trusted, permitted, remembered, allowlisted, passed, failed, gone).",
  labelNames: ["listener", "result"] as const,
  registers,
});
export const greylisted = new Counter({
  name: "packetboat_greylisting_total",
  help: "Recipients asked about in greylisting, by result (new, early: came back too soon, passed: waited long enough, known, allowed: a network that waited often, unavailable: the shared state does not answer).",
  labelNames: ["result"] as const,
  registers,
});
