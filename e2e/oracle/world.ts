/** What both servers see of the world: names and addresses of loopback, served by a real DNS server at an address that no other test has. */
import { randomInt } from "node:crypto";
import { Nsd } from "../peers/nsd.ts";
import { message } from "./battery/pair.ts";
import type { Client, Dialogue, Step } from "./battery/transcript.ts";

/** .1 is well known, .2 lies about its name, .3 and .4 have none, .9 is trusted and .5 shows a certificate. */
const zones: Readonly<Record<string, readonly string[]>> = {
  "127.in-addr.arpa": [
    "1.0.0 IN PTR mail.client.test.",
    "2.0.0 IN PTR liar.client.test.",
    "5.0.0 IN PTR web.client.test.",
  ],
  test: [
    "mail.client IN A 127.0.0.1",
    "client IN MX 10 mail.client",
    "web.client IN A 127.0.0.5",
    "liar.client IN A 192.0.2.1",
    "null.client IN MX 0 .",
    "aonly.client IN A 192.0.2.7",
    "cname.client IN CNAME mail.client",
  ],
  example: ["foreign IN MX 10 mx.foreign", "mx.foreign IN A 192.0.2.8", "sub.foreign IN A 192.0.2.8"],
  com: [
    "example IN MX 10 mx.example",
    "mx.example IN A 192.0.2.9",
    "test.example IN MX 10 mx.example",
    "sample IN MX 10 mx.example",
    "foobar IN MX 10 mx.example",
    "friend-domain IN MX 10 mx.example",
    "my-other-domain IN MX 10 mx.example",
    "ml.example IN MX 10 mx.example",
    "sub.example IN MX 10 mx.example",
    "mrelay1.example IN A 192.0.2.9",
    "smtp.example IN A 192.0.2.9",
    "externaladdress IN MX 10 mx.example",
  ],
  net: ["example IN MX 10 maeve.example", "maeve.example IN A 192.0.2.10", "mta.example IN A 192.0.2.10"],
  org: [
    "example IN MX 10 mx.example",
    "mx.example IN A 192.0.2.11",
    "hosted IN MX 10 mx.example",
    "second IN MX 10 mx.example",
  ],
};

export const startDns = (): Promise<Nsd> =>
  Nsd.start(zones, `127.${randomInt(100, 250)}.${randomInt(1, 250)}.${randomInt(1, 250)}`);

/** Clients by their addresses. */
export const known: Client = { address: "127.0.0.1" };
export const liar: Client = { address: "127.0.0.2" };
export const nameless: Client = { address: "127.0.0.3" };
export const excused: Client = { address: "127.0.0.4" };
export const web: Client = { address: "127.0.0.5", certificate: "web" };
export const inside: Client = { address: "127.0.0.9" };

export const VICTIM = "victim@foreign.example";

/** A message of somebody whose names all exist; what stands behind `MAIL FROM:` and `RCPT TO:` is said as it stands. */
export function letter(
  to: string | readonly string[],
  { helo = "mail.client.test", from = "<bob@client.test>" }: { readonly helo?: string; readonly from?: string } = {},
): readonly Step[] {
  const recipients = typeof to === "string" ? [to] : to;
  return [`EHLO ${helo}`, `MAIL FROM:${from}`, ...recipients.map((each) => `RCPT TO:${each}`), message, "QUIT"];
}

/** `name → RCPT TO` as one message each. */
export const letters = (rows: Readonly<Record<string, string | readonly string[]>>): Record<string, readonly Step[]> =>
  Object.fromEntries(Object.entries(rows).map(([name, to]) => [name, letter(to)]));

/** All of a table from one client. */
export const from = (client: Client, prefix: string, table: Readonly<Record<string, readonly Step[]>>): Dialogue[] =>
  Object.entries(table).map(([name, steps]) => ({ id: `${prefix}/${name}`, client, steps }));

/** The first of some dialogues waits for an event of the setup. */
const after = (event: string, [first, ...rest]: readonly Dialogue[]): Dialogue[] =>
  first === undefined ? [] : [{ ...first, event }, ...rest];

/** The tables are away. Nobody has asked for the unknown one and the foreign one before: what was asked is known for a few seconds. */
export const outage = (foreign: string): Dialogue[] =>
  after(
    "outage",
    from(known, "outage", letters({ known: "<late@example.net>", unknown: "<never-asked@example.net>", foreign })),
  );
