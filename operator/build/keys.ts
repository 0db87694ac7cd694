/**
 * Keys of the rendered tables, made from what people write, within the bounds that the server's schema sets.
 *
 * Stands in build/, pure. `server/config/address.ts` decides how a key looks; here a local part may lack its domain (an alias in its MailDomain), and what does not
 * fit (too long after A-label conversion, control characters) is undefined, so that the schema can never refuse a whole set for one object.
 */
import { addressKey, domainKey, splitAddress } from "../../server/config/address.ts";

const MAX_DOMAIN = 253; // RFC 1035 §2.3.4, less the root and its length octets
const MAX_ADDRESS = 512;
// oxlint-disable-next-line no-control-regex
const unprintable = /[\u0000-\u0020\u007f-\u00a0\u2028\u2029\uFFFD]/;

export function tableDomain(text: string): string | undefined {
  const key = domainKey(text);
  // `__proto__` looks like a name of one label and would vanish from every JavaScript object on its way.
  return key === undefined || key.startsWith("[") || key.length > MAX_DOMAIN || key === "__proto__" ? undefined : key;
}

/** `local`, `local@domain` or `@domain` → its key; a bare local part belongs to `ownDomain`. */
export function tableAddress(text: string, ownDomain?: string): string | undefined {
  if (text === "" || unprintable.test(text)) return undefined;
  const whole = text.includes("@") || ownDomain === undefined ? text : `${text}@${ownDomain}`;
  const key = addressKey(whole);
  return key === undefined || key.length > MAX_ADDRESS || tableDomain(domainOf(key)) === undefined ? undefined : key;
}

/** The same for an address that mail is sent on to: its local part stays as written, because another server may care about its case (RFC 5321 §2.4). */
export function destinationAddress(text: string, ownDomain?: string): string | undefined {
  const key = tableAddress(text, ownDomain);
  if (key === undefined || key.startsWith("@")) return undefined;
  const written = splitAddress(text.includes("@") ? text : `${text}@${ownDomain ?? ""}`);
  const address = `${written?.localPart ?? ""}@${domainOf(key)}`;
  return written === undefined || address.length > MAX_ADDRESS ? undefined : address;
}

export const domainOf = (addressKeyText: string): string => addressKeyText.slice(addressKeyText.lastIndexOf("@") + 1);
