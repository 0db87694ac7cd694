/** One listener of a MailServer: a socket, what it is for, and what it believes. */
import { z } from "zod";
import { described, labelName, list, network, port, withRules } from "./schema.ts";

export const listener = withRules(
  z.strictObject({
    name: described(labelName.max(15), "Name of the listener and of its Service port."),
    role: z.enum(["MX", "Submission"]).meta({
      description: "MX: mail from the world, no AUTH. Submission: mail from our users, AUTH required (RFC 6409).",
    }),
    port: described(port, "Port of the Service; the pod listens on an unprivileged one."),
    tls: z
      .strictObject({
        mode: z.enum(["None", "StartTLS", "Implicit"]).optional().meta({ description: "Absent: StartTLS." }),
        required: z
          .boolean()
          .optional()
          .meta({ description: "MX: refuse MAIL before STARTTLS. Submission always requires TLS." }),
        clientCertificates: z
          .enum(["Ignore", "Ask", "Require"])
          .optional()
          .meta({ description: "Absent: Ask on MX, Ignore on Submission. RelayClientCert needs Ask or Require." }),
        receivedHeader: z
          .boolean()
          .optional()
          .meta({ description: "Put protocol, cipher and client certificate into the Received field. Absent: true." }),
      })
      .optional()
      .meta({ description: "Transport security of this listener." }),
    proxyProtocol: z
      .strictObject({
        trustedCIDRs: list(network, 32, 1).meta({
          description: "Networks of the load balancers whose connections begin with a PROXY header, version 1 or 2.",
        }),
      })
      .optional()
      .meta({
        description: "Learn client addresses from a load balancer. A header from anybody else is not believed.",
      }),
    authenticatedHeader: z
      .boolean()
      .optional()
      .meta({ description: "Name the authenticated user in the Received field. Absent: false." }),
  }),
  [
    {
      cel: "self.role != 'Submission' || !has(self.tls) || !has(self.tls.mode) || self.tls.mode != 'None'",
      message:
        "a Submission listener needs TLS, because passwords never travel in clear: tls.mode must be StartTLS or Implicit",
      holds: (value) => value.role !== "Submission" || value.tls?.mode !== "None",
    },
    {
      cel: "!has(self.tls) || !has(self.tls.mode) || self.tls.mode != 'None' || (!(has(self.tls.required) && self.tls.required) && (!has(self.tls.clientCertificates) || self.tls.clientCertificates == 'Ignore'))",
      message:
        "tls.mode None leaves nothing to require: remove tls.required and tls.clientCertificates, or choose StartTLS or Implicit",
      holds: ({ tls }) =>
        tls?.mode !== "None" || (tls.required !== true && (tls.clientCertificates ?? "Ignore") === "Ignore"),
    },
  ],
);
