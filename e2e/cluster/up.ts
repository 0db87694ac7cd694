/**
 * Up: starts the end-to-end cluster, or finds it running, and prints how to use it:
 *   eval "$(node e2e/cluster/up.ts)"
 * Progress goes to standard error.
 */
import { ensureCluster } from "./cluster.ts";

const { environment } = await ensureCluster();
for (const [name, value] of Object.entries(environment)) console.log(`export ${name}='${value}'`);
