/**
 * The policy, read aloud: for each stage its lists in order, for each list its checks in order.
 *
 * Lists called client, helo, sender, recipient, data and etrn without checks are those of MailServer.spec.restrictions; the first three are asked at RCPT, so that
 * the log names the recipient, and where delayReject is off also as soon as they can be. Cheap and certain before costly and doubtful; who-you-are before what-you-want. A permit ends its own list only. The order has its own test
 * (stages.test.ts), so that a new check is placed on purpose.
 */
import { list } from "./chain.ts";
import { declaredSizeTooLarge, recipientNeedsUtf8, senderNeedsUtf8, tooManyRecipients } from "./checks/envelope.ts";
import { listedInDns } from "./checks/dnsbl.ts";
import { clientIsOurs, nothingToProve, permittedByAccessRule } from "./checks/exempt.ts";
import { greylisted } from "./checks/greylisting.ts";
import { failedPostscreen } from "./checks/postscreen.ts";
import {
  type ConnectFacts,
  tooManyConnections,
  tooManyConnectionsOfClient,
  tooManyNewConnections,
  tooManyRecipientsOfClient,
  tooMuchMail,
} from "./checks/limits.ts";
import { senderNotOwned } from "./checks/ownership.ts";
import { endServices, recipientServices, recipientServicesForAll } from "./checks/policy-service.ts";
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
import { recipientUnverified } from "./checks/verification.ts";
import type { MailFacts, RcptFacts } from "./facts.ts";
import { restrictions } from "./restrictions.ts";

export const stages = {
  connect: [list<ConnectFacts>("limits", { tooManyConnections, tooManyConnectionsOfClient, tooManyNewConnections })],
  /** Before the greeting, where delayReject is off. */
  greeting: [restrictions.atConnect("client")],
  helo: [restrictions.atHelo("helo")],
  mail: [
    list<MailFacts>("session", {
      heloMissing,
      tlsMissing,
      clientCertificateMissing,
      authenticationMissing,
      userIsGone,
    }),
    list<MailFacts>("limits", { tooMuchMail }),
    list<MailFacts>("envelope", { senderNeedsUtf8, declaredSizeTooLarge }),
    restrictions.atMail("sender"),
    list<MailFacts>("ownership", { senderNotOwned }),
    list<MailFacts>("queue", { queueTakesNothing }),
  ],
  rcpt: [
    list<RcptFacts>("postscreen", { failedPostscreen }),
    list<RcptFacts>("limits", { tooManyRecipientsOfClient }),
    list<RcptFacts>("envelope", { recipientNeedsUtf8, tooManyRecipients }),
    restrictions.atRcpt("client"),
    restrictions.atRcpt("helo"),
    restrictions.atRcpt("sender"),
    { ...list<RcptFacts>("relay", { relayDenied, hiddenRoute }), apart: true },
    restrictions.atRcpt("recipient"),
    list<RcptFacts>("standing", { recipientRefused, recipientUnverified }),
    list<RcptFacts>("newcomers", { nothingToProve, clientIsOurs, permittedByAccessRule, listedInDns, greylisted }),
    recipientServicesForAll,
    recipientServices,
  ],
  /** What the message itself must be is content/. */
  data: [restrictions.atData("data")],
  etrn: [restrictions.atEtrn("client"), restrictions.atEtrn("helo"), restrictions.atEtrn("etrn")],
  /** The message is there, nothing is stored. */
  end: [endServices],
} as const;
