/**
 * What the operator may do in the cluster: every permission with the reason it is needed, and nothing besides.
 *
 * The single source: `charts/generate.ts` writes the chart's rules from it, and `charts/chart.test.ts` compares them with what
 * the rendered chart grants. A new API call of the operator starts with a line here; without it the call is answered 403.
 * Verbs are spelled out, there is no wildcard.
 */

export type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete";

/**
 * Where a rule is granted. `Cluster`: always in a ClusterRole. `Watched`: in a ClusterRole, or, with a list of watched
 * namespaces, in a Role of each of them. `Own`: in a Role of the operator's own namespace.
 */
export type RuleScope = "Cluster" | "Watched" | "Own";

export interface PolicyRule {
  readonly scope: RuleScope;
  /** "" is the core group. */
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly Verb[];
  /** Why the operator needs it; becomes the comment above the rule in the chart. */
  readonly reason: string;
}

/** Plural names of the kinds of mail.packetboat.io. */
export const mailResources = [
  "mailservers",
  "maildomains",
  "mailboxes",
  "aliases",
  "tlspolicies",
  "relayclientcerts",
  "accessrules",
  "routes",
] as const;

/** Reflectors never ask for one object. */
const read = ["list", "watch"] as const satisfies readonly Verb[];
/** Server-side apply is a patch that creates what is missing, so it needs both verbs; before a name is taken, get tells whether somebody has it. */
const own = ["get", ...read, "create", "patch", "delete"] as const satisfies readonly Verb[];

export const operatorRules: readonly PolicyRule[] = [
  {
    scope: "Watched",
    apiGroups: ["mail.packetboat.io"],
    resources: [...mailResources],
    verbs: read,
    reason: "Read what people asked for. The operator never writes to a spec.",
  },
  {
    scope: "Watched",
    apiGroups: ["mail.packetboat.io"],
    resources: mailResources.map((resource) => `${resource}/status`),
    verbs: ["patch"],
    reason: "Write conditions and observed state.",
  },
  {
    scope: "Watched",
    apiGroups: ["mail.packetboat.io"],
    resources: ["mailservers/finalizers"],
    verbs: ["update"],
    reason: "Own objects with blockOwnerDeletion where OwnerReferencesPermissionEnforcement is on (OpenShift).",
  },
  {
    scope: "Watched",
    apiGroups: ["apps"],
    resources: ["statefulsets"],
    verbs: own,
    reason: "The MTA pods of a MailServer.",
  },
  {
    scope: "Watched",
    apiGroups: ["policy"],
    resources: ["poddisruptionbudgets"],
    verbs: own,
    reason: "Keep a node drain from stopping every MTA pod at once.",
  },
  {
    scope: "Watched",
    apiGroups: ["networking.k8s.io"],
    resources: ["networkpolicies"],
    verbs: own,
    reason: "Close the admin port of MTA pods to all but the operator, Prometheus and the chart's test.",
  },
  {
    scope: "Watched",
    apiGroups: [""],
    resources: ["services", "configmaps", "serviceaccounts"],
    verbs: own,
    reason: "Client and headless Services, the rendered tables, and a ServiceAccount without a token for MTA pods.",
  },
  {
    scope: "Watched",
    apiGroups: [""],
    resources: ["secrets"],
    verbs: own,
    reason: "Read referenced passwords, certificates and credentials; write the rendered secret slices.",
  },
  {
    scope: "Watched",
    apiGroups: [""],
    resources: ["pods"],
    verbs: [...read, "patch"],
    reason:
      "Ask each MTA pod which configuration it runs; change an annotation so that the kubelet refreshes its volumes now.",
  },
  {
    scope: "Watched",
    apiGroups: ["events.k8s.io"],
    resources: ["events"],
    verbs: ["create", "patch"],
    reason: "Tell what happened to an object where `kubectl describe` shows it.",
  },
  {
    scope: "Cluster",
    apiGroups: [""],
    resources: ["namespaces"],
    verbs: read,
    reason: "Evaluate allowedNamespaces of a MailServer, which may select namespaces by label.",
  },
  {
    scope: "Own",
    apiGroups: ["coordination.k8s.io"],
    resources: ["leases"],
    verbs: ["get", "create", "update"],
    reason: "Leader election between replicas of the operator.",
  },
];
