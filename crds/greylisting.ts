/** MailServer.spec.greylisting: who has never written before is asked to come again; what postgrey is to Postfix. */
import { z } from "zod";
import { addressOrDomain, described, domainName, list, network, positiveDuration } from "./schema.ts";

export const greylisting = z.strictObject({
  delay: described(positiveDuration, "How long a new client, sender and recipient must wait.").default("5m"),
  retryWindow: described(
    positiveDuration,
    "How long after its first try it may come again; longer than delay.",
  ).default("2d"),
  expire: described(positiveDuration, "How long one that waited is known, from its last message on.").default("35d"),
  autoAllowAfter: z.int().min(0).max(1000).default(5).meta({
    description:
      "After so many senders and recipients for whom it waited, a client's network is not asked to wait again. 0: never.",
  }),
  ipv4Prefix: z.int().min(8).max(32).default(24).meta({
    description: "Clients of one IPv4 network of this length are one: large senders try again from another address.",
  }),
  ipv6Prefix: z.int().min(16).max(128).default(64).meta({ description: "The same of IPv6." }),
  exempt: z
    .strictObject({
      networks: list(network, 256).default([]).meta({ description: "Addresses of clients." }),
      clientDomains: list(domainName, 256)
        .default([])
        .meta({ description: "Confirmed names of clients, each with all names below it." }),
      recipients: list(addressOrDomain, 256)
        .default([])
        .meta({ description: "Addresses, and @domain for all of a domain. postmaster and abuse always are." }),
    })
    .prefault({})
    .meta({
      description:
        "Who need not wait, besides networks.trusted, authenticated users, clients with a RelayClientCert and those on an allow-list.",
    }),
});
