/** One listener of a MailServer: a socket, what it is for, and what it believes. */
import { z } from "zod";
import { described, labelName, list, matching, network, port, setOf, withRules } from "./schema.ts";

const ipAddress = z
  .string()
  .min(2)
  .max(45)
  .regex(...matching(/^[0-9A-Fa-f:.]+$/, "must be an IP address"));

/** RFC 5322 §3.6.8. */
const fieldName = z
  .string()
  .min(1)
  .max(76)
  .regex(...matching(/^[!-9;-~]+$/, "must be the name of a header field, without the colon"));

const cleanHeaders = z.strictObject({
  hideClientAddress: z.boolean().optional().meta({
    description: "Leave name and address of the client, and its TLS, out of the Received field. Absent: false.",
  }),
  removeFields: setOf(list(fieldName, 32)).optional().meta({
    description: "Header fields to take out, such as User-Agent, X-Mailer, X-Originating-IP. Absent: none.",
  }),
});

export const listener = withRules(
  z.strictObject({
    name: described(labelName.max(15), "Name of the listener and of its Service port."),
    role: z.enum(["MX", "Submission", "Reinject"]).meta({
      description:
        "MX: mail from the world, no AUTH. Submission: mail from our users, AUTH required (RFC 6409). Reinject: mail that a content filter gives back; only trustedProxies and networks.trusted may use it, and it is not filtered again.",
    }),
    port: described(port, "Port of the Service; the pod listens on an unprivileged one."),
    addresses: setOf(list(ipAddress, 16, 1))
      .optional()
      .meta({
        description: "Addresses of the pod to listen on; :: and 0.0.0.0 stand for all of a family. Absent: all.",
      }),
    tls: z
      .strictObject({
        mode: z
          .enum(["None", "StartTLS", "Implicit"])
          .optional()
          .meta({ description: "Absent: StartTLS, and None on Reinject." }),
        required: z
          .boolean()
          .optional()
          .meta({ description: "MX: refuse MAIL before STARTTLS. Submission always requires TLS." }),
        clientCertificates: z
          .enum(["Ignore", "Ask", "Require"])
          .optional()
          .meta({ description: "Absent: Ask on MX, else Ignore. RelayClientCert needs Ask or Require." }),
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
    trustedProxies: list(network, 64, 1).optional().meta({
      description:
        "Networks whose clients may say by XCLIENT and XFORWARD for whom they speak. What they say is believed, a login name included; nobody else may use these commands.",
    }),
    etrn: z.boolean().optional().meta({
      description: "Let clients ask for the mail of a domain of class Relay that waits here (RFC 1985). Absent: false.",
    }),
    authenticatedHeader: z
      .boolean()
      .optional()
      .meta({ description: "Name the authenticated user in the Received field. Absent: false." }),
    cleanHeaders: cleanHeaders.optional().meta({
      ...cleanHeaders.meta(),
      description: "Submission: what the world need not know of our users' machines and programs.",
    }),
  }),
  [
    {
      cel: "self.role == 'Submission' || !has(self.cleanHeaders)",
      message: "cleanHeaders is for listeners of role Submission: other people's headers are not ours to clean",
      holds: (value) => value.role === "Submission" || value.cleanHeaders === undefined,
    },
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
