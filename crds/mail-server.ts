/** MailServer: a fleet of MTA pods, what main.cf and master.cf are to Postfix. */
import { z } from "zod";
import { addresses } from "./addresses.ts";
import { debug } from "./debug.ts";
import { greylisting } from "./greylisting.ts";
import { limits } from "./limits.ts";
import { listener } from "./listener.ts";
import { lookups, tables } from "./lookups.ts";
import { policyServices } from "./policy-service.ts";
import { sharedState } from "./shared-state.ts";
import { verification } from "./verification.ts";
import { authentication } from "./authentication.ts";
import { dnsblRules, postscreen } from "./postscreen.ts";
import { restrictionFields } from "./restrictions.ts";
import {
  address,
  define,
  described,
  domainName,
  duration,
  hostName,
  list,
  mapBy,
  network,
  objectName,
  opaque,
  port,
  positiveDuration,
  type Resource,
  setOf,
  size,
  stringMap,
  withRules,
  matching,
  sourceAddresses,
} from "./schema.ts";

const labelSelector = z.strictObject({
  matchLabels: stringMap(32).optional().meta({ description: "Labels a namespace must carry.", maxProperties: 32 }),
  matchExpressions: list(
    withRules(
      z.strictObject({
        key: z.string().min(1).max(317),
        operator: z.enum(["In", "NotIn", "Exists", "DoesNotExist"]),
        values: list(z.string().max(63), 64).optional(),
      }),
      [
        {
          cel: "(self.operator == 'In' || self.operator == 'NotIn') == (has(self.values) && size(self.values) > 0)",
          message: "operators In and NotIn need values; Exists and DoesNotExist take none",
          holds: ({ operator, values = [] }) => (operator === "In" || operator === "NotIn") === values.length > 0,
        },
      ],
    ),
    32,
  )
    .optional()
    .meta({ description: "As Kubernetes matches labels." }),
});

/** Without Fingerprint: there is no fingerprint that all the world's servers share. */
const defaultTlsLevels = ["None", "May", "Encrypt", "DANE", "DANEOnly", "Verify", "Secure"] as const;

export const mailServerSpec = z.strictObject({
  hostname: domainName.meta({
    description:
      "Name of the fleet: greeting, Received field, sender of reports. It should resolve to the Service's address and back.",
  }),
  replicas: z.int().min(0).max(100).default(1).meta({ description: "MTA pods." }),
  image: z
    .string()
    .max(512)
    .regex(...matching(/^[\x21-\x7E]*$/, "must be an image reference, without spaces"))
    .default("")
    .meta({ description: "Container image; empty: the operator's own." }),
  resources: opaque.optional().meta({
    ...opaque.meta(),
    description: "Requests and limits of the MTA container (core/v1 ResourceRequirements).",
  }),
  storage: z
    .strictObject({
      size: size.default("1Gi").meta({ ...size.meta(), description: "Size of each pod's queue volume." }),
      storageClassName: described(objectName, "Absent: the cluster's default class.").optional(),
      retain: z
        .boolean()
        .default(true)
        .meta({ description: "Keep the volumes when the MailServer is deleted or scaled down." }),
    })
    .prefault({})
    .meta({ description: "The queue volume of each pod." }),
  service: z
    .strictObject({
      type: z
        .enum(["ClusterIP", "NodePort", "LoadBalancer"])
        .default("ClusterIP")
        .meta({ description: "Type of the client Service." }),
      annotations: stringMap(64)
        .default({})
        .meta({ description: "Annotations of the Service, e.g. for a load balancer.", maxProperties: 64 }),
      externalTrafficPolicy: z
        .enum(["Cluster", "Local"])
        .default("Local")
        .meta({ description: "Local keeps client addresses; used for NodePort and LoadBalancer." }),
      ipFamilies: setOf(list(z.enum(["IPv4", "IPv6"]), 2))
        .default([])
        .meta({ description: "Empty: the cluster's default." }),
      ipFamilyPolicy: z
        .enum(["SingleStack", "PreferDualStack", "RequireDualStack"])
        .default("PreferDualStack")
        .meta({ description: "As of a Service." }),
    })
    .prefault({})
    .meta({ description: "How clients reach the fleet." }),
  pod: z
    .strictObject({
      nodeSelector: stringMap(32).default({}).meta({ description: "Nodes the pods may run on.", maxProperties: 32 }),
      tolerations: list(opaque, 32).default([]).meta({ description: "core/v1 Toleration." }),
      affinity: opaque.optional().meta({ ...opaque.meta(), description: "core/v1 Affinity." }),
      topologySpread: list(opaque, 16)
        .default([])
        .meta({ description: "core/v1 TopologySpreadConstraint; empty: spread over nodes where possible." }),
      priorityClassName: described(objectName, "Priority class of the pods.").optional(),
      annotations: stringMap(64).default({}).meta({ description: "Annotations of the pods.", maxProperties: 64 }),
    })
    .prefault({})
    .meta({ description: "Where and how pods run." }),
  allowedNamespaces: withRules(
    z.strictObject({
      from: z
        .enum(["Same", "All", "Selector"])
        .default("Same")
        .meta({ description: "Whose objects may refer to this MailServer and its domains." }),
      selector: labelSelector.optional().meta({ description: "Namespaces, for from: Selector." }),
    }),
    [
      {
        cel: "self.from != 'Selector' || has(self.selector)",
        message: "allowedNamespaces.from: Selector needs a selector",
        holds: (value) => value.from !== "Selector" || value.selector !== undefined,
      },
    ],
  )
    .prefault({})
    .meta({ description: "Namespaces whose objects may refer to this MailServer." }),
  listeners: withRules(mapBy(list(listener, 16, 1), "name"), [
    {
      cel: "self.all(a, self.exists_one(b, b.port == a.port))",
      message: "two listeners cannot have the same port",
      holds: (value) => new Set(value.map((item) => item.port)).size === value.length,
    },
  ])
    .default([
      { name: "mx", role: "MX", port: 25, tls: { mode: "StartTLS", clientCertificates: "Ask" } },
      { name: "submission", role: "Submission", port: 587, tls: { mode: "StartTLS" } },
      { name: "submissions", role: "Submission", port: 465, tls: { mode: "Implicit" } },
    ])
    .meta({ description: "Sockets and what they are for." }),
  tls: z
    .strictObject({
      certificates: list(z.strictObject({ secretName: objectName }), 8)
        .default([])
        .meta({
          description:
            "TLS Secrets (tls.crt, tls.key), e.g. of cert-manager; ECDSA and RSA side by side. None: each pod makes a self-signed one.",
        }),
      profile: z
        .enum(["Modern", "Intermediate", "Old"])
        .default("Intermediate")
        .meta({ description: "Mozilla's server side TLS profile." }),
      sessionTimeout: duration.default("24h").meta({ description: "How long a TLS session can be resumed." }),
    })
    .prefault({})
    .meta({ description: "Server side TLS." }),
  networks: z
    .strictObject({
      trusted: list(network, 1024).default([]).meta({
        description:
          "Networks whose clients may relay. Nothing is trusted by default, loopback and cluster networks included.",
      }),
    })
    .prefault({})
    .meta({ description: "Who is trusted by address." }),
  limits: limits.prefault({}).meta({ description: "What one client, message or session may use." }),
  sharedState: sharedState.optional().meta({
    ...sharedState.meta(),
    description:
      "Count what limits, failures and caches need in a Redis-compatible server, for all pods together. Absent, or while it does not answer: each pod counts for itself.",
  }),
  restrictions: z
    .strictObject({
      strictEnvelopes: z
        .boolean()
        .default(false)
        .meta({ description: "Refuse MAIL FROM and RCPT TO without angle brackets." }),
      ...restrictionFields,
      dnsbl: dnsblRules.default([]).meta({
        description:
          "DNS lists that are asked at RCPT on MX listeners, in this order; the first listing decides. Not asked about networks.trusted, authenticated users, clients with a RelayClientCert, and what an AccessRule permits.",
      }),
    })
    .prefault({})
    .meta({ description: "Checks of every session." }),
  postscreen: postscreen.optional().meta({
    ...postscreen.meta(),
    description: "Look at clients of MX listeners before they may talk. Absent: nobody waits.",
  }),
  greylisting: greylisting.optional().meta({
    ...greylisting.meta(),
    description: "Ask clients of MX listeners that have never written before to come again. Absent: nobody is asked.",
  }),
  authentication: authentication.prefault({}).meta({
    ...authentication.meta(),
    description: "Who may log in on Submission listeners. Back ends are asked in order until one says yes.",
  }),
  addresses: addresses.prefault({}).meta({ description: "How addresses are read, completed and rewritten." }),
  postmaster: list(address, 16).default([]).meta({
    description:
      "Who gets <postmaster> and reports that cannot be delivered. Empty: postmaster of a served domain, else its first mailbox.",
  }),
  queue: z
    .strictObject({
      minBackoff: positiveDuration
        .default("5m")
        .meta({ ...positiveDuration.meta(), description: "First pause between attempts; doubles." }),
      maxBackoff: positiveDuration
        .default("4h")
        .meta({ ...positiveDuration.meta(), description: "Longest pause between attempts." }),
      lifetime: duration
        .default("5d")
        .meta({ description: "Age at which a message is given back (RFC 5321 §4.5.4.1); 0: after one attempt." }),
      bounceLifetime: duration
        .default("5d")
        .meta({ description: "Age at which a report is given up; 0: after one attempt." }),
      delayWarning: duration
        .default("0")
        .meta({ description: "Age at which the sender is told of a delay; 0: never." }),
      confirmDelayCleared: z
        .boolean()
        .default(false)
        .meta({ description: "Who was told of a delay is also told when the message was delivered after all." }),
      softBounce: z.boolean().default(false).meta({
        description:
          "Turn every permanent failure into a temporary one, also in the server's own replies (5xx become 4xx): a net for debugging.",
      }),
      hold: z.boolean().default(false).meta({
        description: "Put all new mail on hold: accepted and kept, not delivered until it is released.",
      }),
      notify: setOf(list(z.enum(["Bounce", "DoubleBounce", "Delay", "Policy", "Protocol", "Resource", "Software"]), 7))
        .default(["DoubleBounce"])
        .meta({
          description:
            "What the postmaster hears of. Bounce and Delay: copies of reports to senders, with the header of the message. DoubleBounce: mail without a sender that failed. Policy, Protocol, Resource and Software: what was said in sessions that were refused for that kind of reason, at most one a minute of each.",
        }),
    })
    .prefault({})
    .meta({ description: "Retries and lifetimes." }),
  outbound: z
    .strictObject({
      heloName: described(domainName, "Name in EHLO; absent: hostname.").optional(),
      relayHost: z
        .strictObject({
          host: described(hostName, "Smarthost."),
          port: described(port, "Its port.").default(25),
          lookupMX: z.boolean().default(false).meta({ description: "Take the MX records of host." }),
          implicitTLS: z.boolean().default(false).meta({ description: "TLS from the first octet." }),
          credentialsSecretName: described(objectName, "Secret with username and password.").optional(),
        })
        .optional()
        .meta({ description: "Deliver all outgoing mail that no Route claims through this host." }),
      addressPreference: z
        .enum(["Any", "IPv4", "IPv6"])
        .default("Any")
        .meta({ description: "Which family to try first. Any takes both in turn." }),
      sourceAddresses: sourceAddresses.default([]).meta({
        ...sourceAddresses.meta(),
        description:
          "Addresses to send from, one of each family at most; the pod must have them (host network, or a second interface). Empty: the system chooses.",
      }),
      tls: z
        .strictObject({
          default: z.enum(defaultTlsLevels).default("May").meta({
            description:
              "Level where no TLSPolicy says otherwise. Fingerprint is for a TLSPolicy; DANE and DANEOnly are refused by this version.",
          }),
        })
        .prefault({})
        .meta({ description: "Client side TLS." }),
      dns: z
        .strictObject({
          resolvers: list(
            z
              .string()
              .min(2)
              .max(64)
              .regex(...matching(/^[0-9A-Fa-f:.[\]]+$/, "must be an IP address, with :port where it is not 53")),
            8,
          )
            .default([])
            .meta({ description: "Resolvers to ask; empty: those of the pod." }),
        })
        .prefault({})
        .meta({ description: "DNS of outgoing mail." }),
      concurrency: z
        .strictObject({
          perDestination: z
            .int()
            .min(1)
            .max(1000)
            .default(20)
            .meta({ description: "Deliveries to one destination at once." }),
          total: z.int().min(1).max(10_000).default(200).meta({ description: "Deliveries of one shard at once." }),
        })
        .prefault({})
        .meta({ description: "Parallel deliveries." }),
      port: described(port, "Port of mail exchangers; 25 in the world.").default(25),
      allowPrivateNextHops: z.boolean().default(false).meta({
        description:
          "Also connect to loopback, link-local, private and cluster addresses that public DNS names. For tests; better name the networks in allowedNetworks.",
      }),
      allowedNetworks: list(network, 256).default([]).meta({
        description:
          "Networks that mail exchangers found in DNS may lie in, though they are private. A host that a Route, relayHost or delivery names is always allowed.",
      }),
      deniedNetworks: list(network, 256).default([]).meta({
        description:
          "Networks that mail exchangers found in DNS must not lie in, though they are public: pod and Service ranges of a cluster with public addresses. Wins over allowedNetworks.",
      }),
    })
    .prefault({})
    .meta({ description: "Mail that leaves." }),
  lookups: lookups.prefault({}).meta({
    description: "Where domains, mailboxes, aliases and the like are looked up besides the objects.",
  }),
  tables: tables.default([]).meta({ description: "Inline maps, as hash:, cidr:, regexp: and pcre: of Postfix." }),
  verification: verification.prefault({}).meta({
    description:
      "Asking other servers whether an address exists, for MailDomains with recipients.from: Verify and for the restrictions RejectUnverifiedRecipient and RejectUnverifiedSender.",
  }),
  policyServices: policyServices.default([]).meta({
    description: "Daemons that speak Postfix's policy delegation protocol, in the order in which they are asked.",
  }),
  debug: debug.prefault({}).meta({ description: "Looking into what goes wrong." }),
  configShards: z.int().min(1).max(32).default(8).meta({
    description:
      "ConfigMaps and Secrets the tables are spread over (each holds at most 1 MiB). Changing it restarts the pods.",
  }),
});

export type MailServerSpec = z.input<typeof mailServerSpec>;
export type MailServer = Resource<"MailServer", z.output<typeof mailServerSpec>>;

export const mailServerKind = define({
  kind: "MailServer",
  plural: "mailservers",
  singular: "mailserver",
  shortName: "msrv",
  description: "A fleet of MTA pods with one configuration: listeners, limits, queue and outgoing mail.",
  spec: mailServerSpec,
  status: z.object({
    replicas: z.int().min(0).optional().meta({ description: "Pods there are." }),
    readyReplicas: z.int().min(0).optional().meta({ description: "Pods that take mail." }),
    selector: z
      .string()
      .max(512)
      .optional()
      .meta({ description: "Label selector of the pods, for the scale subresource." }),
    configHash: z.string().max(64).optional().meta({ description: "SHA-256 of the configuration that should run." }),
    queue: z
      .object({ messages: z.int(), recipients: z.int(), oldestSeconds: z.int() })
      .partial()
      .optional()
      .meta({ description: "Totals of all pods when last asked." }),
    pods: z
      .array(
        z.object({
          name: z.string().max(253),
          ready: z.boolean(),
          configHash: z.string().max(64).optional(),
          message: z.string().max(1024).optional(),
        }),
      )
      .max(100)
      .optional()
      .meta({
        description: "What each pod runs.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
      }),
  }),
  columns: [
    { name: "Hostname", type: "string", jsonPath: ".spec.hostname" },
    { name: "Replicas", type: "integer", jsonPath: ".spec.replicas" },
    { name: "Available", type: "integer", jsonPath: ".status.readyReplicas" },
    {
      name: "Queue",
      type: "integer",
      jsonPath: ".status.queue.messages",
      description: "Messages in the queue when last asked.",
    },
  ],
  selectableFields: [".spec.hostname"],
  scale: {
    specReplicasPath: ".spec.replicas",
    statusReplicasPath: ".status.replicas",
    labelSelectorPath: ".status.selector",
  },
  example: `apiVersion: mail.packetboat.io/v1alpha1
kind: MailServer
metadata: {name: mx}
spec:
  hostname: mx.example.org
  tls:
    certificates: [{secretName: mx-tls}]
  networks:
    trusted: [10.20.0.0/16]
`,
});
