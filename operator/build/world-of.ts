/**
 * Which objects are whose: from everything there is to the world of one MailServer.
 *
 * Stands before build, shared by gather and by the embedded mode, so that both see the same world. Pure. An object whose reference leads nowhere belongs to nobody;
 * Mailboxes and Aliases without their MailDomain are given to every MailServer of the namespace their reference points into, so that somebody tells them.
 */
import { refersTo, targetOf } from "./references.ts";
import type { Refusal } from "./verdict.ts";
import { describe, type MailObject, type MailServer, nameKey, namespaceOf, type World } from "./world.ts";

export type Inputs = Pick<World, "secrets" | "namespaces" | "nowMs">;

/** The server an object names itself; undefined for the kinds that go through a MailDomain or mean every server. */
function serverReference(
  object: MailObject,
): { readonly name: string; readonly namespace?: string | undefined } | undefined {
  switch (object.kind) {
    case "MailDomain":
    case "RelayClientCert":
    case "AccessRule":
    case "Route":
    case "TLSPolicy":
      return object.spec.serverRef;
    case "MailServer":
    case "Mailbox":
    case "Alias":
      return undefined;
  }
}

export function worldOf(server: MailServer, objects: Iterable<MailObject>, inputs: Inputs): World {
  const all = [...objects];
  const domainServers = new Map(
    all.flatMap((object) => (object.kind === "MailDomain" ? [[nameKey(object), object] as const] : [])),
  );
  const isOurs = (object: MailObject): boolean => {
    if (object.kind === "MailServer") return false;
    if (object.kind === "Mailbox" || object.kind === "Alias") {
      const target = targetOf(object, object.spec.domainRef);
      const domain = domainServers.get(target);
      return domain === undefined
        ? target.slice(0, target.indexOf("/")) === namespaceOf(server)
        : refersTo(domain, domain.spec.serverRef, server);
    }
    const reference = serverReference(object);
    return reference === undefined ? namespaceOf(object) === namespaceOf(server) : refersTo(object, reference, server);
  };
  const ours = all.filter(isOurs);
  const ofKind = <K extends MailObject["kind"]>(kind: K): Extract<MailObject, { kind: K }>[] =>
    ours.filter((object): object is Extract<MailObject, { kind: K }> => object.kind === kind);
  return {
    server,
    domains: ofKind("MailDomain"),
    mailboxes: ofKind("Mailbox"),
    aliases: ofKind("Alias"),
    tlsPolicies: ofKind("TLSPolicy"),
    relayClientCerts: ofKind("RelayClientCert"),
    accessRules: ofKind("AccessRule"),
    routes: ofKind("Route"),
    ...inputs,
  };
}

/** What an object is told that belongs to no MailServer; undefined where it has one among `servers`. */
export function strayRefusal(
  object: MailObject,
  servers: readonly MailServer[],
  domains: ReadonlySet<string>,
): Refusal | undefined {
  if (object.kind === "MailServer") return undefined;
  if (object.kind === "Mailbox" || object.kind === "Alias") {
    const target = targetOf(object, object.spec.domainRef);
    return domains.has(target)
      ? undefined
      : {
          reason: "InvalidReference",
          message: `MailDomain ${target} does not exist; create it or correct spec.domainRef.`,
        };
  }
  const reference = serverReference(object);
  if (reference === undefined) {
    const near = servers.some((server) => namespaceOf(server) === namespaceOf(object));
    return near
      ? undefined
      : {
          reason: "InvalidReference",
          message: `Namespace ${namespaceOf(object)} has no MailServer for ${describe(object)}; create one or name one in spec.serverRef.`,
        };
  }
  if (servers.some((server) => refersTo(object, reference, server))) return undefined;
  return {
    reason: "InvalidReference",
    message: `MailServer ${targetOf(object, reference)} does not exist; create it or correct spec.serverRef.`,
  };
}
