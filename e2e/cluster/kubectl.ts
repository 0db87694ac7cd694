/**
 * Kubectl: the built kubectl with the administrator's kubeconfig.
 * Fails with `CommandFailed`, which holds what kubectl said.
 */
import { binary } from "./binaries.ts";
import { type CommandOptions, run } from "./command.ts";
import { paths } from "./layout.ts";

export const kubectl = (args: readonly string[], options?: CommandOptions): Promise<string> =>
  run(binary("kubectl"), ["--kubeconfig", paths.kubeconfig, ...args], options);

/** Creates or changes objects by server-side apply. JSON is YAML enough for kubectl. */
export async function apply(...objects: readonly object[]): Promise<void> {
  const list = { apiVersion: "v1", kind: "List", items: objects };
  await kubectl(["apply", "--server-side", "--force-conflicts", "--field-manager=packetboat-e2e-cluster", "-f", "-"], {
    input: JSON.stringify(list),
  });
}
