/** Replies behind which the server hangs up: 421 and 521 of an access rule, as Postfix's access tables have it; not 554. RFC 7504 §3. */
import { test } from "node:test";
import { aConfig, aRule, aServer, play } from "../listen/inbound-fixture.ts";

const everybody = [{ kind: "cidr" as const, value: "0.0.0.0/0" }];
const until = (refusal: string, rest: string): string => `S: 220 mx.example.org ESMTP Packetboat
C: HELO client.example.com
S: 250 mx.example.org
C: MAIL FROM:<bob@example.com>
S: 250 2.1.0 Ok
C: RCPT TO:<alice@example.org>
S: ${refusal}
${rest}`;

for (const [code, enhanced] of [
  [521, "5.3.2"],
  [421, "4.3.2"],
] as const)
  test(`${code} of a rule ends the session`, async () => {
    const kind = code > 500 ? ("Reject" as const) : ("Defer" as const);
    await using server = await aServer(
      aConfig({}, { accessRules: [aRule("Client", everybody, { kind, code, enhanced, text: "No mail here" })] }),
    );
    await play(server.port(), until(`${code} ${enhanced} No mail here`, "CLOSED"));
  });

test("554 of a rule does not", async () => {
  await using server = await aServer(aConfig({}, { accessRules: [aRule("Client", everybody, { kind: "Reject" })] }));
  await play(
    server.port(),
    until("554 5.7.1 Access denied", "C: NOOP\nS: 250 2.0.0 Ok\nC: QUIT\nS: 221 2.0.0 Bye\nCLOSED"),
  );
});
