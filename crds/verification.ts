/** MailServer.spec.verification: how addresses are verified at the server that would get their mail; Postfix's address_verify_* and unverified_*_reject_code. */
import { z } from "zod";
import { address, described, duration, positiveDuration } from "./schema.ts";

const rejection = z.enum(["Temporary", "Permanent"]);

export const verification = z.strictObject({
  sender: address.optional().meta({
    ...address.meta(),
    description: "Sender of probes. Absent: the null sender <>, to which nobody replies. It must exist.",
  }),
  positive: z
    .strictObject({
      expire: described(positiveDuration, "How long it is believed.").default("31d"),
      refresh: described(positiveDuration, "Age at which it is asked again.").default("7d"),
    })
    .prefault({})
    .meta({ description: "That an address exists." }),
  negative: z
    .strictObject({
      expire: described(positiveDuration, "How long it is believed.").default("3d"),
      refresh: described(positiveDuration, "Age at which it is asked again.").default("3h"),
    })
    .prefault({})
    .meta({ description: "That an address does not exist." }),
  wait: described(duration, "How long a client waits for the other server before it hears 450.").default("6s"),
  recipients: rejection.default("Temporary").meta({
    description: "How recipients that do not exist are refused: 450 or 550.",
  }),
  senders: rejection.default("Temporary").meta({
    description: "How senders that do not exist are refused by RejectUnverifiedSender: 450 or 550.",
  }),
});
