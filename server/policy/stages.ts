/**
 * The policy, read aloud: for each stage its lists in order, for each list its checks in order.
 *
 * Cheap and certain before costly and doubtful; who-you-are before what-you-want. A permit ends its own list only. The order has its own test
 * (stages.test.ts), so that a new check is placed on purpose.
 */
import { list } from "./chain.ts";
import { clientAccess, heloAccess, recipientAccess, senderAccess } from "./checks/access.ts";
import { type ConnectFacts, tooManyConnections, tooManyConnectionsOfClient } from "./checks/connection.ts";
import { declaredSizeTooLarge, recipientNeedsUtf8, senderNeedsUtf8, tooManyRecipients } from "./checks/envelope.ts";
import { senderNotOwned } from "./checks/ownership.ts";
import { recipientRefused } from "./checks/recipient.ts";
import { hiddenRoute, relayDenied } from "./checks/relay.ts";
import {
  authenticationMissing,
  clientCertificateMissing,
  heloMissing,
  queueTakesNothing,
  tlsMissing,
  userIsGone,
} from "./checks/session.ts";
import type { ClientFacts, MailFacts, RcptFacts } from "./facts.ts";

export const stages = {
  connect: [list<ConnectFacts>("limits", { tooManyConnections, tooManyConnectionsOfClient })],
  /** Nothing yet that must be said before MAIL; see heloAccess. */
  helo: [list<ClientFacts>("helo", {})],
  mail: [
    list<MailFacts>("session", {
      heloMissing,
      tlsMissing,
      clientCertificateMissing,
      authenticationMissing,
      userIsGone,
    }),
    list<MailFacts>("envelope", { senderNeedsUtf8, declaredSizeTooLarge }),
    list<MailFacts>("client", { clientAccess }),
    list<MailFacts>("helo", { heloAccess }),
    list<MailFacts>("sender", { senderAccess }),
    list<MailFacts>("ownership", { senderNotOwned }),
    list<MailFacts>("queue", { queueTakesNothing }),
  ],
  rcpt: [
    list<RcptFacts>("envelope", { recipientNeedsUtf8, tooManyRecipients }),
    list<RcptFacts>("relay", { relayDenied, hiddenRoute }),
    list<RcptFacts>("recipient", { recipientAccess }),
    list<RcptFacts>("standing", { recipientRefused }),
  ],
  /** Nothing yet; what the message itself must be is content/. */
  data: [list<ClientFacts>("data", {})],
} as const;
