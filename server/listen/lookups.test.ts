/** Look-ups as a client sees them: replies in the order of the commands, 451 while nobody can say, nothing asked for what no check looks at. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LookupUnavailable } from "../lookup/lookup.ts";
import type { Answer, Lookups } from "../lookup/lookups.ts";
import { createLog } from "../observe/log.ts";
import { Asking } from "../route/asking.ts";
import { aConfig, aDomain, aListener, aServer, play } from "./inbound-fixture.ts";

/** Mailboxes whose local part begins with a letter; the longer the name, the sooner the answer. */
class Mailboxes implements Lookups {
  asked: string[] = [];
  isDown = false;
  has(role: string): boolean {
    return role === "mailboxes" || role === "aliases";
  }
  names(): readonly string[] {
    return ["db"];
  }
  async first(role: string, keys: string | readonly string[]): Promise<Answer | undefined> {
    const key = typeof keys === "string" ? keys : (keys[0] ?? "");
    if (role === "mailboxes") this.asked.push(key);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, 40 - key.length)));
    if (this.isDown) throw new LookupUnavailable("db", "source", "a test");
    return role === "mailboxes" && /^[a-z]/.test(key) ? { lookup: "db", key, values: ["1"] } : undefined;
  }
  table(): undefined {
    return undefined;
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

const start = (mailboxes: Mailboxes, role: "MX" | "Reinject" = "MX", recipients = 100) =>
  aServer(
    aConfig(
      { domains: new Map([["look.example", aDomain({ recipients: "Lookups" })]]) },
      {
        listeners: [aListener({ role })],
        trustedNetworks: role === "MX" ? [] : ["127.0.0.0/8"],
        limits: { recipients },
      },
    ),
    { lookups: () => mailboxes, standingOf: new Asking(() => mailboxes, createLog("test", "silent")).standingOf },
  );
const hello = "S: 220 *\nC: HELO client.example.net\nS: 250 *\nC: MAIL FROM:<bob@example.com>\nS: 250 *";

test("pipelined recipients are answered in their order, unknown ones refused; an outage is 451 and over when it is over", async () => {
  const mailboxes = new Mailboxes();
  await using server = await start(mailboxes);
  const client = await play(
    server.port(),
    `${hello}
C! "RCPT TO:<a@look.example>\\r\\nRCPT TO:<1@look.example>\\r\\nRCPT TO:<a-longer-name@look.example>\\r\\n"
S: 250 2.1.5 *
S: 550 5.1.1 *
S: 250 2.1.5 *`,
  );
  client.close();
  mailboxes.isDown = true;
  const during = await play(server.port(), `${hello}\nC: RCPT TO:<a@look.example>\nS: 451 4.3.0 *`);
  mailboxes.isDown = false;
  during.close();
  const after = await play(server.port(), `${hello}\nC: RCPT TO:<a@look.example>\nS: 250 *`);
  after.close();
});

test("nothing is asked about recipients beyond the limit, nor about what a filter gives back", async () => {
  const mailboxes = new Mailboxes();
  await using server = await start(mailboxes, "MX", 1);
  const client = await play(
    server.port(),
    `${hello}\nC: RCPT TO:<a@look.example>\nS: 250 *\nC: RCPT TO:<b@look.example>\nS: 452 4.5.3 *\nC: RCPT TO:<a@look.example>\nS: 250 *`,
  );
  client.close();
  assert.deepEqual(mailboxes.asked, ["a@look.example", "a@look.example"]);
  const filtered = new Mailboxes();
  await using reinject = await start(filtered, "Reinject");
  const filter = await play(reinject.port(), `${hello}\nC: RCPT TO:<1@look.example>\nS: 250 *`);
  filter.close();
  assert.deepEqual(filtered.asked, []);
});
