/** A folder of programs that have just ended: their last children may still write into it, so it is emptied again until it stays empty. */
import { rmSync } from "node:fs";

export const removeFolder = (folder: string): void =>
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
