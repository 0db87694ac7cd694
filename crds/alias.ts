/** Alias: addresses that lead to other addresses. */
import { z } from "zod";
import {
  address,
  addressOrDomain,
  addressOrLocalPart,
  define,
  lineOfText,
  list,
  mapBy,
  noStatus,
  reference,
  type Resource,
  withRules,
} from "./schema.ts";

const senders = list(addressOrDomain, 100);

export const aliasSpec = withRules(
  z.strictObject({
    domainRef: reference("MailDomain"),
    addresses: list(addressOrLocalPart, 100).default([]).meta({
      description: "Local parts of the domain, full addresses, or @domain for everything that nothing else names.",
    }),
    destinations: list(address, 1000).default([]).meta({ description: "Where mail to them goes; each gets one copy." }),
    senders: senders.default([]).meta({ description: "Mailboxes that may put these addresses into MAIL FROM." }),
    relocatedTo: lineOfText
      .optional()
      .meta({ description: "Refuse mail to them with this new address (5.1.6), instead of destinations." }),
    entries: mapBy(
      list(
        z.strictObject({
          address: addressOrLocalPart,
          destinations: list(address, 100, 1),
          senders: senders.optional(),
        }),
        500,
      ),
      "address",
    )
      .default([])
      .meta({ description: "Many aliases in one object." }),
  }),
  [
    {
      cel: "(size(self.addresses) > 0) == (size(self.destinations) > 0 || has(self.relocatedTo))",
      message: "addresses and destinations (or relocatedTo) belong together: give both, or use entries",
      holds: (value) =>
        value.addresses.length > 0 === (value.destinations.length > 0 || value.relocatedTo !== undefined),
    },
    {
      cel: "!(size(self.destinations) > 0 && has(self.relocatedTo))",
      message: "an alias either leads to destinations or says relocatedTo, not both",
      holds: (value) => !(value.destinations.length > 0 && value.relocatedTo !== undefined),
    },
    {
      cel: "size(self.addresses) > 0 || size(self.entries) > 0",
      message: "an alias needs addresses with destinations, or entries",
      holds: (value) => value.addresses.length > 0 || value.entries.length > 0,
    },
  ],
);

export type AliasSpec = z.input<typeof aliasSpec>;
export type Alias = Resource<"Alias", z.output<typeof aliasSpec>>;

export const aliasKind = define({
  kind: "Alias",
  plural: "aliases",
  singular: "alias",
  shortName: "mal",
  description: "Addresses that lead to other addresses.",
  spec: aliasSpec,
  status: noStatus,
  columns: [
    { name: "Domain", type: "string", jsonPath: ".spec.domainRef.name" },
    { name: "Addresses", type: "string", jsonPath: ".spec.addresses" },
    { name: "Destinations", type: "string", jsonPath: ".spec.destinations" },
  ],
  selectableFields: [".spec.domainRef.name"],
  example: `apiVersion: mail.packetboat.io/v1alpha1
kind: Alias
metadata: {name: sales}
spec:
  domainRef: {name: example-org}
  addresses: [sales, info]
  destinations: [alice@example.org, bob@example.net]
  senders: [alice@example.org]
`,
});
