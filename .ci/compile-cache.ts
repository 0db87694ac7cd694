/** One compile cache for all processes of all tests, or each would make its own; what the environment says goes first. */
import { tmpdir } from "node:os";
import { join } from "node:path";

export const compileCache: Readonly<Record<"NODE_COMPILE_CACHE", string>> = {
  NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? join(tmpdir(), "packetboat-compile-cache"),
};
