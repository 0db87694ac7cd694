/**
 * Destinations of an alias as a look-up gives them → addresses that mail can be sent to.
 *
 * Pure, between look-ups and expansion. Whoever fills the database decides where mail goes, but not what goes over the wire: what is no address (a command, a file, a
 * line break) is a sentence for the log, and mail for that alias waits. A name without a domain is of the alias's own domain. RFC 5321 §4.1.2; virtual(5).
 */
import { domainKey, splitAddress } from "../config/address.ts";
import { type Parsed, wrong } from "../config/lookup-template.ts";

const MAX_ADDRESS = 512;
// oxlint-disable-next-line no-control-regex
const atoms = /^[^\s"(),:;<>@[\\\]\u0000-\u001f\u007f]+$/u;
// oxlint-disable-next-line no-control-regex
const quoted = /^"(?:[^"\\\u0000-\u001f\u007f]|\\[\u0020-\u007e])*"$/u;

function readDestination(written: string, ownDomain: string): string | undefined {
  const text = written.startsWith("<") && written.endsWith(">") ? written.slice(1, -1) : written;
  const parts = splitAddress(text) ?? { localPart: text, domain: ownDomain };
  if (text.length > MAX_ADDRESS || domainKey(parts.domain) === undefined) return undefined;
  const { localPart, domain } = parts;
  // `@other.example`: the same local part there.
  if (localPart !== "" && !quoted.test(localPart) && (!atoms.test(localPart) || /^[|/]/.test(localPart)))
    return undefined;
  return `${localPart}@${domain}`;
}

export function readDestinations(written: readonly string[], ownDomain: string): Parsed<readonly string[]> {
  const destinations = new Set<string>();
  for (const each of written) {
    const read = readDestination(each, ownDomain);
    if (read === undefined)
      return wrong(`a destination is no address: "${each.replaceAll(/[^\x20-\x7E]/g, "?").slice(0, 60)}"`);
    destinations.add(read);
  }
  return { ok: true, value: [...destinations] };
}
