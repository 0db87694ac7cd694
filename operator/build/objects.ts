/**
 * Objects: what a MailServer is in the cluster, from the rendered configuration to the StatefulSet.
 *
 * Last of build/, pure; the order of the result is the order to write in (the manifest after every file it names, the pods after their configuration). All are
 * owned by the MailServer and go with it; only the queue volumes may stay (spec.storage.retain).
 */
import { renderFiles } from "../../server/config/files.ts";
import type { RenderedConfig } from "../../server/config/schema.ts";
import type { Manifest } from "../kube/types.ts";
import { configObjects } from "./config-objects.ts";
import { serviceListeners } from "./listeners.ts";
import { clientService, disruptionBudget, networkPolicy, podService } from "./network-objects.ts";
import { serviceAccount, statefulSet } from "./stateful-set.ts";
import type { World } from "./world.ts";

export interface ObjectOptions {
  readonly operatorNamespace: string;
  /** The server's image where spec.image is empty. */
  readonly image: string;
  /** The rendered files, where the caller has them already. */
  readonly files?: ReadonlyMap<string, string>;
}

export function buildObjects(
  { server }: World,
  config: RenderedConfig,
  { operatorNamespace, image, files = renderFiles(config) }: ObjectOptions,
): Manifest[] {
  const listeners = serviceListeners(server);
  return [
    ...configObjects(server, files),
    serviceAccount(server),
    podService(server, listeners),
    clientService(server, listeners),
    networkPolicy(server, listeners, operatorNamespace),
    disruptionBudget(server),
    statefulSet(server, image, listeners, files.keys()),
  ];
}
