/** Route: a next hop for destinations or senders; Postfix's transport_maps and sender_dependent_relayhost_maps. */
import { z } from "zod";
import {
  addressOrDomain,
  define,
  described,
  errorReply,
  hostName,
  list,
  noStatus,
  objectName,
  port,
  reference,
  type Resource,
  sourceAddresses,
  matching,
  SPACE,
  withRules,
} from "./schema.ts";

export const routeSpec = withRules(
  z.strictObject({
    destinations: list(
      z
        .string()
        .min(1)
        .max(254)
        .regex(
          ...matching(String.raw`^(\*|\.?[^${SPACE}@*[\]]+)$`, "must be a domain, .domain for its children, or *"),
        ),
      256,
    )
      .default([])
      .meta({ description: "Recipient domains; most specific wins." }),
    senders: list(addressOrDomain, 256)
      .default([])
      .meta({ description: "Envelope senders, or @domain; asked after destinations." }),
    serverRef: reference("MailServer"),
    transport: z.enum(["SMTP", "LMTP", "Error", "Discard", "Hold"]).default("SMTP").meta({ description: "How." }),
    nextHop: z
      .strictObject({
        host: described(hostName, "Host."),
        port: described(port, "Port; absent: 25, LMTP 24.").optional(),
        implicitTLS: z.boolean().default(false).meta({ description: "TLS from the first octet." }),
        lookupMX: z.boolean().default(false).meta({ description: "Take the MX records of host." }),
      })
      .optional()
      .meta({ description: "Where to, for SMTP and LMTP." }),
    credentialsSecretName: described(objectName, "Secret with username and password for AUTH.").optional(),
    tls: z
      .strictObject({
        clientCertificateSecretName: described(objectName, "TLS Secret to show to the next hop.").optional(),
      })
      .prefault({})
      .meta({ description: "Client certificate; what TLS is required says a TLSPolicy." }),
    shaping: z
      .strictObject({
        connections: z
          .int()
          .min(1)
          .max(1000)
          .optional()
          .meta({ description: "Parallel connections of each pod. Its shards share them, at least one each." }),
        messagesPerConnection: z
          .int()
          .min(1)
          .max(10_000)
          .optional()
          .meta({ description: "Messages after which a connection is closed; absent: 100." }),
        rate: z
          .string()
          .max(16)
          .regex(
            ...matching(
              /^[1-9][0-9]{0,6}\/[smhd]$/,
              "must be messages per second, minute, hour or day, such as 10/s, 600/m, 5000/h or 20000/d",
            ),
          )
          .optional()
          .meta({
            description:
              "Messages to one next hop in a time, such as 600/m, of each pod. Its shards share it in equal parts. Bounces are exempt; more waits.",
          }),
      })
      .prefault({})
      .meta({ description: "How hard to push." }),
    sourceAddresses: sourceAddresses.default([]).meta({
      ...sourceAddresses.meta(),
      description: "Addresses to send from, one of each family at most; empty: those of the MailServer.",
    }),
    error: errorReply.optional().meta({ ...errorReply.meta(), description: "The reply, for transport Error." }),
  }),
  [
    {
      cel: "size(self.destinations) > 0 || size(self.senders) > 0",
      message: "a Route needs destinations or senders",
      holds: (value) => value.destinations.length > 0 || value.senders.length > 0,
    },
    {
      cel: "has(self.nextHop) == (self.transport == 'SMTP' || self.transport == 'LMTP')",
      message: "nextHop belongs to transport SMTP and LMTP, and only there",
      holds: (value) => (value.nextHop !== undefined) === (value.transport === "SMTP" || value.transport === "LMTP"),
    },
    {
      cel: "!has(self.error) || self.transport == 'Error'",
      message: "error is for transport Error only",
      holds: (value) => value.error === undefined || value.transport === "Error",
    },
    {
      cel: "!has(self.credentialsSecretName) || self.transport == 'SMTP'",
      message: "credentialsSecretName is for transport SMTP only",
      holds: (value) => value.credentialsSecretName === undefined || value.transport === "SMTP",
    },
    {
      cel: "(!has(self.tls.clientCertificateSecretName) && !has(self.shaping.connections) && !has(self.shaping.messagesPerConnection) && !has(self.shaping.rate)) || self.transport == 'SMTP' || self.transport == 'LMTP'",
      message: "tls.clientCertificateSecretName and shaping are for transport SMTP and LMTP only",
      holds: (value) =>
        (value.tls.clientCertificateSecretName === undefined &&
          value.shaping.connections === undefined &&
          value.shaping.messagesPerConnection === undefined &&
          value.shaping.rate === undefined) ||
        value.transport === "SMTP" ||
        value.transport === "LMTP",
    },
    {
      cel: "size(self.sourceAddresses) == 0 || self.transport == 'SMTP' || self.transport == 'LMTP'",
      message: "sourceAddresses is for transport SMTP and LMTP only",
      holds: (value) => value.sourceAddresses.length === 0 || value.transport === "SMTP" || value.transport === "LMTP",
    },
    {
      cel: "self.transport != 'LMTP' || !has(self.nextHop) || (!self.nextHop.implicitTLS && !self.nextHop.lookupMX)",
      message: "nextHop.implicitTLS and nextHop.lookupMX are for transport SMTP only",
      holds: (value) =>
        value.transport !== "LMTP" ||
        value.nextHop === undefined ||
        (!value.nextHop.implicitTLS && !value.nextHop.lookupMX),
    },
  ],
);

export type RouteSpec = z.input<typeof routeSpec>;
export type Route = Resource<"Route", z.output<typeof routeSpec>>;

export const routeKind = define({
  kind: "Route",
  plural: "routes",
  singular: "route",
  shortName: "mrt",
  description: "A next hop for destinations or senders.",
  spec: routeSpec,
  status: noStatus,
  columns: [
    { name: "Transport", type: "string", jsonPath: ".spec.transport" },
    { name: "Next Hop", type: "string", jsonPath: ".spec.nextHop.host" },
    { name: "Server", type: "string", jsonPath: ".spec.serverRef.name" },
  ],
  selectableFields: [".spec.transport", ".spec.serverRef.name"],
  example: `apiVersion: mail.packetboat.io/v1alpha1
kind: Route
metadata: {name: partner}
spec:
  destinations: [partner.example]
  serverRef: {name: mx}
  nextHop: {host: gateway.partner.example, port: 465, implicitTLS: true}
  credentialsSecretName: partner-login
`,
});
