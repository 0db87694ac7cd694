/** A small valid rendered configuration for tests, with overrides; what the operator would write for one domain and one mailbox. */
import { emptySecrets } from "./files.ts";
import { noRestrictions } from "./restrictions.ts";
import { noRewriting } from "./rewriting.ts";
import { CONFIG_VERSION, type RenderedConfig, type ServerSection } from "./schema.ts";

export function aRenderedConfig(server: Partial<ServerSection> = {}): RenderedConfig {
  return {
    slices: 4,
    server: {
      version: CONFIG_VERSION,
      name: "default/mx",
      hostname: "mx.example.org",
      listeners: [
        {
          name: "mx",
          role: "MX",
          port: 2525,
          tls: { mode: "StartTLS", required: false, clientCertificates: "Ask", receivedHeader: true },
        },
        {
          name: "submission",
          role: "Submission",
          port: 2587,
          tls: { mode: "StartTLS", required: true, clientCertificates: "Ignore", receivedHeader: true },
        },
        {
          name: "submissions",
          role: "Submission",
          port: 2465,
          tls: { mode: "Implicit", required: true, clientCertificates: "Ignore", receivedHeader: true },
        },
      ],
      tls: { profile: "Intermediate", sessionTimeoutMs: 86_400_000 },
      trustedNetworks: [],
      limits: {
        messageSizeBytes: 52_428_800,
        headerSizeBytes: 102_400,
        recipients: 1000,
        recipientOvershoot: 1000,
        connections: 1000,
        connectionsPerClient: 50,
        rates: {},
        clientPrefix: { ipv4: 32, ipv6: 64 },
        exemptNetworks: [],
        messagesPerConnection: 0,
        softErrors: 10,
        hardErrors: 20,
        junkCommands: 100,
        idleTimeoutMs: 300_000,
        heloTimeoutMs: 300_000,
        minDataRate: 500,
      },
      queue: {
        minBackoffMs: 300_000,
        maxBackoffMs: 14_400_000,
        lifetimeMs: 432_000_000,
        bounceLifetimeMs: 432_000_000,
        delayWarningMs: 0,
        confirmDelayCleared: false,
        softBounce: false,
        hold: false,
        notify: ["DoubleBounce"],
        minFreeBytes: 0,
      },
      outbound: {
        heloName: "mx.example.org",
        addressPreference: "Any",
        tlsDefault: "May",
        resolvers: [],
        destinationConcurrency: 20,
        concurrency: 200,
        smtpPort: 25,
        allowPrivateNextHops: false,
        allowedNetworks: [],
        deniedNetworks: [],
        sourceAddresses: [],
      },
      recipientDelimiters: "+",
      rewriting: noRewriting,
      postmaster: ["alice@example.org"],
      strictEnvelopes: false,
      authentication: {
        mechanisms: ["PLAIN", "LOGIN", "EXTERNAL"],
        mailboxes: true,
        saltKey: "0".repeat(64),
        failures: { perClient: 0, perUser: 0, windowMs: 600_000 },
      },
      accessRules: [],
      restrictions: noRestrictions,
      lookups: [],
      policyServices: [],
      verification: {
        sender: "",
        positive: { expireMs: 2_678_400_000, refreshMs: 604_800_000 },
        negative: { expireMs: 259_200_000, refreshMs: 10_800_000 },
        waitMs: 6000,
        recipientRejectCode: 450,
        senderRejectCode: 450,
      },
      debugPeers: [],
      ...server,
    },
    tables: {
      domains: {
        "example.org": {
          class: "Mailbox",
          recipients: "Objects",
          delivery: { kind: "maildir", base: "mail" },
          catchAll: [],
        },
      },
      addresses: {
        "alice@example.org": {
          mailbox: { authentication: true, suspended: false, forwardTo: [], keepCopy: true, sendAs: [] },
        },
      },
      routes: {},
      senderRoutes: {},
      tlsPolicies: {},
      relayClientCerts: {},
    },
    secrets: emptySecrets(),
  };
}
