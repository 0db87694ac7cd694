/** Why an object is not accepted: the part of the closed set of crds/conditions.ts that the build uses. */
import type { Reason } from "../../crds/conditions.ts";

export type RefusalReason = Extract<
  Reason,
  | "Conflict"
  | "InvalidReference"
  | "NotAllowed"
  | "SecretNotFound"
  | "SecretInvalid"
  | "Unsupported"
  | "Expired"
  | "Invalid"
>;
