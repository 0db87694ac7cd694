/** MailServer.spec.sharedState: a Redis-compatible server where the pods of a fleet count together. */
import { z } from "zod";
import { described, objectName } from "./schema.ts";

export const sharedState = z.strictObject({
  secretName: described(
    objectName,
    "Secret with url (redis://host:6379/0, or rediss:// for TLS) and, where needed, username, password and ca.crt.",
  ),
});
