/** A world for tests: the quickstart's server and domain with whatever the test adds; all objects through the builders of crds/. */
import { aMailDomain, aMailServer } from "../../crds/builders.ts";
import type { MailObject, SecretData, World } from "./world.ts";
import { worldOf } from "./world-of.ts";

export const NOW_MS = Date.UTC(2026, 5, 1);

export interface WorldParts {
  readonly objects?: readonly MailObject[];
  readonly secrets?: Readonly<Record<string, SecretData>>;
  readonly namespaces?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly server?: World["server"];
  /** Without the MailDomain example-org. */
  readonly bare?: boolean;
}

export function aWorld({
  objects = [],
  secrets = {},
  namespaces = {},
  server = aMailServer(),
  bare = false,
}: WorldParts = {}): World {
  return worldOf(server, [...(bare ? [] : [aMailDomain()]), ...objects], {
    secrets: new Map(Object.entries(secrets)),
    namespaces: new Map(Object.entries(namespaces)),
    nowMs: NOW_MS,
  });
}
