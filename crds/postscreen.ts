/** MailServer.spec.postscreen and .restrictions.dnsbl: clients are looked at before they may talk; Postfix's postscreen_*, reject_rbl_client and their like. */
import { z } from "zod";
import { described, domainName, duration, list, matching, network, positiveDuration, replyText } from "./schema.ts";

const action = z.enum(["Ignore", "Enforce", "Drop"]);

const filter = z
  .string()
  .min(7)
  .max(255)
  .regex(
    ...matching(
      /^[0-9.;[\]]+$/,
      "must be an address pattern of four fields, each a number or ranges in brackets, such as 127.0.0.[2..11]",
    ),
  );

const dnsList = {
  zone: described(domainName, "Zone of the list, such as zen.spamhaus.org."),
  shownAs: described(
    domainName,
    "What clients, log and metrics are told instead of the zone, which may hold your key with the list.",
  ).optional(),
  filter: described(
    filter,
    "Which answers count, as Postfix writes them: 127.0.0.[2..11]. Absent: all in 127.0.0.0/8. Answers outside it never count, and those in 127.255.255.0/24 (the list does not answer your resolver) only where a filter names them.",
  ).optional(),
};

const kept = (fallback: string, description: string) => described(duration, description).default(fallback);

export const postscreen = z.strictObject({
  greetWait: described(
    positiveDuration,
    "How long a client that has not passed waits for the end of the greeting; at most a minute.",
  ).default("6s"),
  greetAction: described(
    action,
    "What becomes of a client that talks before its turn. Ignore: a line in the log. Enforce: every recipient is refused (550 5.5.1). Drop: 521, and the connection is closed.",
  ).default("Enforce"),
  dnsbl: z
    .strictObject({
      sites: list(
        z.strictObject({
          ...dnsList,
          weight: z
            .int()
            .min(-1000)
            .max(1000)
            .optional()
            .meta({ description: "What a listing adds to the client's sum; below 0 for an allow-list. Absent: 1." }),
        }),
        64,
      )
        .default([])
        .meta({
          description:
            "DNS lists that are asked about the client's address. Several filters of one zone are several entries.",
        }),
      threshold: z
        .int()
        .min(1)
        .max(100_000)
        .default(1)
        .meta({ description: "Sum of weights from which on the client is refused." }),
      allowlistThreshold: z
        .int()
        .min(-100_000)
        .max(0)
        .default(0)
        .meta({ description: "Sum of weights, below 0, at which a client skips all other tests. 0: no sum does." }),
      action: described(action, "What becomes of a refused client. Enforce answers every recipient 550 5.7.1.").default(
        "Enforce",
      ),
      timeout: described(
        positiveDuration,
        "A list that has not answered by then lists nobody; at most a minute.",
      ).default("5s"),
    })
    .prefault({})
    .meta({ description: "Block lists and allow-lists, weighted." }),
  deepTests: z
    .strictObject({
      pipelining: described(
        action,
        "The client sends a command before it has the answer to the one before.",
      ).optional(),
      nonSmtpCommand: described(
        action,
        "The client speaks HTTP, or sends lines of a message header as commands.",
      ).optional(),
      bareNewline: described(action, "The client ends a command with LF alone.").optional(),
    })
    .prefault({})
    .meta({
      description:
        "Tests after the greeting, made while the client goes on; PIPELINING is offered to it once it has passed. Absent: not made.",
    }),
  access: list(
    z.strictObject({
      network: described(network, "Addresses of clients."),
      action: z.enum(["Permit", "Reject"]).meta({ description: "Permit: no tests. Reject: see accessAction." }),
    }),
    512,
  )
    .default([])
    .meta({
      description: "Clients known beforehand, the first match wins. networks.trusted is permitted in front of it.",
    }),
  accessAction: described(action, "What becomes of a client that access rejects. Enforce answers 550 5.3.2.").default(
    "Enforce",
  ),
  cache: z
    .strictObject({
      preGreet: kept("1d", "The wait before the greeting."),
      dnsbl: kept("1h", "The DNS lists."),
      deepTests: kept("30d", "Each of the tests after the greeting."),
    })
    .prefault({})
    .meta({ description: "How long a client that passed a test is not tested again; 0: it is, each time." }),
});

export const dnsblRules = list(
  z.strictObject({
    ...dnsList,
    kind: z.enum(["Client", "ClientName", "ReverseClient", "Helo", "Sender", "Recipient"]).optional().meta({
      description:
        "What is looked up. Client: the address. ClientName: its confirmed name. ReverseClient: the name it leads to, confirmed or not. Helo: the name it gave. Sender, Recipient: the domain of the address. Absent: Client.",
    }),
    action: z.enum(["Reject", "Permit"]).optional().meta({
      description:
        "Permit: the entries behind it and greylisting are skipped; it never allows relaying. Absent: Reject.",
    }),
    text: described(replyText, "What the client is told. Absent: the list's name and its own words.").optional(),
  }),
  64,
);
