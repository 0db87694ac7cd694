/** MailServer.spec.policyServices: daemons that are asked what to do (greylisting, SPF, quotas), what `check_policy_service` is to Postfix. */
import { z } from "zod";
import { described, duration, labelName, list, mapBy, matching, positiveDuration } from "./schema.ts";

/** Of access(5), what may stand for an answer that did not come. */
const DEFAULT_ACTION =
  /^(OK|DUNNO|REJECT|DEFER|DEFER_IF_PERMIT|DEFER_IF_REJECT|HOLD|WARN|INFO|[45][0-9][0-9])( [\x20-\x7E]{0,400})?$/;

export const policyServices = mapBy(
  list(
    z.strictObject({
      name: described(labelName, "Name of this service, for its metrics and log lines."),
      address: z
        .string()
        .min(3)
        .max(270)
        .regex(
          ...matching(
            /^(unix:\/[\x21-\x7E]{1,106}|(inet:)?([A-Za-z0-9_.-]{1,249}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5})$/,
            "must be host:port, [ip6]:port, or unix:/path of a socket in the pod",
          ),
        )
        .meta({ description: "host:port, [ip6]:port, or unix:/path of a socket in the pod." }),
      stage: z.enum(["Client", "Helo", "Sender", "Recipient", "Data", "EndOfMessage", "Etrn"]).optional().meta({
        description:
          "The list it is asked at the end of. Recipient: last of all, about recipients that exist. Absent: only where a list or an AccessRule says CheckPolicyService and its name.",
      }),
      clients: z.enum(["Untrusted", "All"]).optional().meta({
        description:
          "Untrusted, also when absent: not asked about networks.trusted, authenticated users and RelayClientCerts.",
      }),
      timeout: described(
        positiveDuration,
        "How long a connection, and how long an answer, may take. Absent: 100s.",
      ).optional(),
      maxIdle: described(duration, "How long an unused connection is kept. Absent: 300s.").optional(),
      maxLifetime: described(positiveDuration, "How long any connection is kept. Absent: 1000s.").optional(),
      connections: z
        .int()
        .min(1)
        .max(1000)
        .optional()
        .meta({ description: "Connections of one shard at once. Absent: 20." }),
      tries: z
        .int()
        .min(1)
        .max(10)
        .optional()
        .meta({ description: "Attempts at one question before the default action. Absent: 2." }),
      retryDelay: described(duration, "Pause between attempts. Absent: 1s.").optional(),
      defaultAction: z
        .string()
        .min(2)
        .max(420)
        .regex(
          ...matching(
            DEFAULT_ACTION,
            "must be OK, DUNNO, REJECT, DEFER, DEFER_IF_PERMIT, DEFER_IF_REJECT, HOLD, WARN, INFO or a code such as 451, and a text",
          ),
        )
        .optional()
        .meta({
          description:
            "Action where no answer comes, or none that is understood. Absent: 451 4.3.5 Server configuration problem.",
        }),
      context: z
        .string()
        .max(512)
        .regex(...matching(/^[\x20-\x7E]*$/, "must be one line of printable ASCII, or nothing"))
        .optional()
        .meta({ description: "Sent to the service as policy_context." }),
    }),
    32,
  ),
  "name",
);
