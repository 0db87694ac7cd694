/**
 * Verification: MailServer.spec.verification → how a server asks others whether an address exists.
 *
 * Called by server-section.ts. Pure. A sender that is no address is said; until it is corrected probes have the null sender.
 */
import type { Verification } from "../../server/config/verification.ts";
import type { Context } from "./context.ts";
import { destinationAddress } from "./keys.ts";
import { durationMs } from "./quantities.ts";
import { objectKey } from "./world.ts";

export function verificationOf({ world, findings }: Pick<Context, "world" | "findings">): Verification {
  const { server } = world;
  const { verification } = server.spec;
  const sender = verification.sender === undefined ? "" : destinationAddress(verification.sender);
  if (sender === undefined)
    findings.refuse(
      objectKey(server),
      "Invalid",
      `"${verification.sender}" in spec.verification.sender is not an address; correct it. Until then probes have the null sender.`,
    );
  const code = (how: "Temporary" | "Permanent"): 450 | 550 => (how === "Permanent" ? 550 : 450);
  const lifetime = ({ expire, refresh }: { readonly expire: string; readonly refresh: string }) => ({
    expireMs: Math.max(1, durationMs(expire)),
    refreshMs: Math.max(1, durationMs(refresh)),
  });
  return {
    sender: sender ?? "",
    positive: lifetime(verification.positive),
    negative: lifetime(verification.negative),
    waitMs: durationMs(verification.wait),
    recipientRejectCode: code(verification.recipients),
    senderRejectCode: code(verification.senders),
  };
}
