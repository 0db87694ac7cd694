/**
 * Progress: what the cluster's commands tell a person, on standard error, with the seconds since the start.
 */
const startedAt = performance.now();

export function say(line: string): void {
  process.stderr.write(`[cluster ${((performance.now() - startedAt) / 1000).toFixed(1)}s] ${line}\n`);
}

/** Asks again until the answer is yes; fails with what it waited for and the last error once the time is up. */
export async function until(
  what: string,
  timeoutMs: number,
  isSo: () => Promise<boolean>,
  everyMs = 200,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let lastError: unknown;
  for (;;) {
    try {
      if (await isSo()) return;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain for: ${what}`, { cause: lastError });
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
