/**
 * Conditions: what status says of an object, with a closed set of reasons. The reference page of reasons is made from this file.
 *
 * Accepted, Programmed and Ready are positive; Reconciling and Stalled are kstatus' abnormal-true. A consumer may match on `reason`; `message` is for people.
 */
export const conditionTypes = {
  Accepted: "The object is valid, its references resolve, and nobody older claims the same.",
  Programmed: "Every pod of its MailServer runs a configuration that contains it.",
  Ready: "Accepted and Programmed.",
  Reconciling: "True while a change is on its way to the pods.",
  Stalled: "True while it cannot go on without a person.",
  SourceIPPreserved: "Of a MailServer: clients are seen by their own addresses.",
} as const;

export const reasons = {
  Accepted: "Nothing is wrong with it.",
  Conflict: "An older object claims the same domain, address, destination or fingerprint; the message names it.",
  InvalidReference: "What it refers to does not exist.",
  NotAllowed: "Its namespace may not refer to that MailServer.",
  SecretNotFound: "A Secret it names does not exist.",
  SecretInvalid: "A Secret it names does not hold what is needed.",
  Expired: "It, or the certificate it names, has expired.",
  Unsupported: "This version cannot do what it asks for.",
  Invalid: "A value is wrong in a way the API server cannot see.",
  Programmed: "Every pod runs it.",
  Pending: "Not every pod runs it yet.",
  NoPods: "There is no pod to run it.",
  PodsUnreachable: "A pod does not say what it runs.",
  ConfigRejected: "A pod refuses the configuration; the message says why.",
  NotAccepted: "It is not part of the configuration.",
  ApplyFailed: "The operator could not write what belongs to it; the message says what the API server answered.",
  Ready: "It works.",
  Idle: "Nothing is on its way.",
  SourcePreserved: "The Service, or the PROXY protocol, tells who connects.",
  SourceHidden: "The Service gives every client the address of a node; the message says what to change.",
  OpenRelayRisk: "The same, and the nodes' addresses are, or may be, trusted: anybody may relay.",
} as const;

export type ConditionType = keyof typeof conditionTypes;
export type Reason = keyof typeof reasons;

export interface Condition {
  readonly type: ConditionType;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: Reason;
  readonly message: string;
  /** RFC 3339, whole seconds. */
  readonly lastTransitionTime: string;
  readonly observedGeneration: number;
}
