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
  withRules,
  matching,
} from "./schema.ts";

export const routeSpec = withRules(
  z.strictObject({
    destinations: list(
      z
        .string()
        .min(1)
        .max(254)
        .regex(...matching(/^(\*|\.?[^\s@*[\]]+)$/, "must be a domain, .domain for its children, or *")),
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
      .strictObject({ connections: z.int().min(1).max(1000).optional().meta({ description: "Parallel connections." }) })
      .prefault({})
      .meta({ description: "How hard to push." }),
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
