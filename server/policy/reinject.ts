/**
 * The policy of a Reinject listener: what a content filter gives back was judged when it came, and is not judged again.
 *
 * Who may use it at all is asked; then only what every message must be (a size that fits, an address that can be written). No look-ups, no lists, no question whether
 * the recipient exists or may be relayed to: it was accepted before, and a refusal now would make the filter write a bounce. RFC 5321 §4.2.5.
 */
import type { Listener } from "../config/schema.ts";
import { replies } from "../session/replies.ts";
import { type Check, list } from "./chain.ts";
import { declaredSizeTooLarge, recipientNeedsUtf8, senderNeedsUtf8, tooManyRecipients } from "./checks/envelope.ts";
import { heloMissing, queueTakesNothing, tlsMissing } from "./checks/session.ts";
import type { MailFacts, RcptFacts } from "./facts.ts";
import { stages } from "./stages.ts";
import { pass, reject } from "./verdict.ts";

type Stages = { readonly [S in keyof typeof stages]: readonly (typeof stages)[S][number][] };

/** The peer is one of the filters; or it speaks for a client (XCLIENT) that may relay by itself. */
export const notAFilter: Check<MailFacts> = ({ client }) =>
  client.isInTrustedNetwork() || client.isTrustedProxy
    ? pass
    : reject("relay-denied", replies.accessRejected(undefined));

export const reinjectStages: Stages = {
  ...stages,
  greeting: [],
  helo: [],
  mail: [
    list<MailFacts>("session", { heloMissing, tlsMissing, notAFilter }),
    list<MailFacts>("envelope", { senderNeedsUtf8, declaredSizeTooLarge }),
    list<MailFacts>("queue", { queueTakesNothing }),
  ],
  rcpt: [list<RcptFacts>("envelope", { recipientNeedsUtf8, tooManyRecipients })],
  data: [],
  end: [],
};

/** The policy of a listener. */
export const stagesOf = ({ role }: Pick<Listener, "role">): Stages => (role === "Reinject" ? reinjectStages : stages);
