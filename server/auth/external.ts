/**
 * EXTERNAL: the TLS client certificate says who it is, a RelayClientCert says which mailbox that means.
 *
 * Pure. Offered only to a client whose certificate is known and not expired. The client may name the identity it wants to act as: itself, or nobody.
 * RFC 4422 Appendix A.
 */
import type { LiveConfig } from "../config/schema.ts";
import { addressOfLogin, mayLogIn } from "./login-name.ts";
import { cancelledOr, clientFirst, type Mechanism } from "./sasl.ts";

export const external = (config: LiveConfig, user: string): Mechanism =>
  clientFirst(
    cancelledOr((authorize) => {
      const asItself = authorize === "" || addressOfLogin(config, authorize) === user;
      return asItself && mayLogIn(config, user) ? { kind: "authenticated", user } : { kind: "refused", username: user };
    }),
  );
