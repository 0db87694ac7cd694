import assert from "node:assert/strict";
import { test } from "node:test";
import { stages } from "./stages.ts";

/** The whole order, on purpose twice: whoever moves or adds a check says so here. */
test("the policy reads", () => {
  const read = Object.fromEntries(
    Object.entries(stages).map(([stage, lists]) => [
      stage,
      lists.map(({ name, checks, early }) =>
        typeof checks === "function"
          ? `restrictions.${name}${early === true ? ", refusals" : ""}`
          : `${name}: ${checks.map((check) => check.name).join(", ")}`,
      ),
    ]),
  );
  assert.deepEqual(read, {
    connect: ["limits: tooManyConnections, tooManyConnectionsOfClient, tooManyNewConnections"],
    greeting: ["restrictions.client, refusals"],
    helo: ["restrictions.helo, refusals"],
    mail: [
      "session: heloMissing, tlsMissing, clientCertificateMissing, authenticationMissing, userIsGone",
      "limits: tooMuchMail",
      "envelope: senderNeedsUtf8, declaredSizeTooLarge",
      "restrictions.sender, refusals",
      "ownership: senderNotOwned",
      "queue: queueTakesNothing",
    ],
    rcpt: [
      "postscreen: failedPostscreen",
      "limits: tooManyRecipientsOfClient",
      "envelope: recipientNeedsUtf8, tooManyRecipients",
      "restrictions.client",
      "restrictions.helo",
      "restrictions.sender",
      "relay: relayDenied, hiddenRoute",
      "restrictions.recipient",
      "standing: recipientRefused, recipientUnverified",
      "newcomers: nothingToProve, clientIsOurs, permittedByAccessRule, listedInDns, greylisted",
      "restrictions.delegated, all",
      "restrictions.delegated",
    ],
    data: ["restrictions.data"],
    etrn: ["restrictions.client", "restrictions.helo", "restrictions.etrn"],
    end: ["restrictions.delegated"],
  });
});
