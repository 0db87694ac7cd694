/** TLSPolicy objects: which of them speaks for a destination. Pure; asked by transport.ts, to know whether look-ups must be asked, and by deliver/tls-requirement.ts. */
import type { LiveConfig, TlsPolicyEntry } from "../config/schema.ts";

/** Exact key, then `.parent` from the longest; `[host]:port` has no parents. */
export function policyFor(config: LiveConfig, key: string): TlsPolicyEntry | undefined {
  const exact = config.tlsPolicies.get(key);
  if (exact !== undefined || key.startsWith("[")) return exact;
  for (let dot = key.indexOf("."); dot >= 0; dot = key.indexOf(".", dot + 1)) {
    const parent = config.tlsPolicies.get(key.slice(dot));
    if (parent !== undefined) return parent;
  }
  return undefined;
}
