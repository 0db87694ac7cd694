/** MailServer.spec.debug: what a person looks at while something is wrong; Postfix's debug_peer_list. */
import { z } from "zod";
import { list, matching, setOf } from "./schema.ts";

/** A network, or a name: of a host, or of everything below a domain where it begins with a dot. */
const peer = z
  .string()
  .min(2)
  .max(253)
  .regex(
    ...matching(
      /^[0-9A-Fa-f:.]+(\/[0-9]{1,3})?$|^\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/,
      "must be a network such as 192.0.2.0/24, a host name, or .example.org for all names below",
    ),
  );

export const debug = z.strictObject({
  peers: setOf(list(peer, 64)).default([]).meta({
    description:
      "Clients whose whole dialogue goes into the log, both ways, without passwords and without the messages. A name is compared with the client's verified name; .example.org means all names below it.",
  }),
});
