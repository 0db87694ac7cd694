/** Whose dialogue is logged: MailServer.spec.debug → `debugPeers`. Pure; what is no network and no name is said and left out. */
import { networkKey } from "./access-rules.ts";
import type { Context } from "./context.ts";
import { tableDomain } from "./keys.ts";
import { objectKey } from "./world.ts";

function peerKey(text: string): string | undefined {
  if (/[:/]/.test(text) || /^[0-9.]+$/.test(text)) return networkKey(text);
  const name = tableDomain(text.startsWith(".") ? text.slice(1) : text);
  return name === undefined || !text.startsWith(".") ? name : `.${name}`;
}

export function debugPeersOf({ world: { server }, findings }: Context): string[] {
  const peers = server.spec.debug.peers.flatMap((text) => {
    const key = peerKey(text);
    if (key === undefined)
      findings.refuse(
        objectKey(server),
        "Invalid",
        `"${text}" in spec.debug.peers is neither a network nor a name; correct it.`,
      );
    return key === undefined ? [] : [key];
  });
  return [...new Set(peers)].sort();
}
