/**
 * `npm run e2e`: brings up the real cluster (or uses KUBECONFIG), builds and loads the image, installs the chart, plays every story, ends with one line of counts.
 *
 * With KUBECONFIG set, PACKETBOAT_IMAGE must name an image that cluster can pull. The cluster of our own is taken down at the end unless KEEP_CLUSTER is set.
 * `npm run e2e -- FILE…` plays chosen stories.
 */
import { globSync } from "node:fs";
import { finish, tests } from "../.ci/test.ts";
import { down, ensureCluster } from "./cluster/cluster.ts";
import { buildProductImage } from "./image.ts";
import { dovecotMissing } from "./peers/dovecot.ts";

const own = process.env["KUBECONFIG"] === undefined || process.env["KUBECONFIG"] === "";
try {
  const cluster = await ensureCluster();
  if (cluster.capabilities.loadImage) await cluster.loadImage(await buildProductImage());
  else if (process.env["PACKETBOAT_IMAGE"] === undefined)
    throw new Error("with KUBECONFIG set, PACKETBOAT_IMAGE must name an image that the cluster can pull");
  const missing = dovecotMissing();
  if (missing !== undefined) console.log(`stories with Dovecot will be skipped: ${missing}`);
  const chosen = process.argv.slice(2).filter((argument) => argument.endsWith(".ts"));
  await tests("stories", chosen.length > 0 ? chosen : globSync("e2e/stories/*.test.ts").sort(), 1);
} finally {
  if (own && process.env["KEEP_CLUSTER"] === undefined) await down();
}
finish();
