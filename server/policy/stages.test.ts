import assert from "node:assert/strict";
import { test } from "node:test";
import { stages } from "./stages.ts";

/** The whole order, on purpose twice: whoever moves or adds a check says so here. */
test("the policy reads", () => {
  const read = Object.fromEntries(
    Object.entries(stages).map(([stage, lists]) => [
      stage,
      lists.map(({ name, checks }) => `${name}: ${checks.map((check) => check.name).join(", ")}`),
    ]),
  );
  assert.deepEqual(read, {
    connect: ["limits: tooManyConnections, tooManyConnectionsOfClient"],
    helo: ["helo: "],
    mail: [
      "session: heloMissing, tlsMissing, clientCertificateMissing, authenticationMissing, userIsGone",
      "envelope: senderNeedsUtf8, declaredSizeTooLarge",
      "client: clientAccess",
      "helo: heloAccess",
      "sender: senderAccess",
      "ownership: senderNotOwned",
      "queue: queueTakesNothing",
    ],
    rcpt: [
      "envelope: recipientNeedsUtf8, tooManyRecipients",
      "relay: relayDenied, hiddenRoute",
      "recipient: recipientAccess",
      "standing: recipientRefused",
    ],
    data: ["data: "],
  });
});
