/** Two questions to the server's admin port: does it take mail, and which configuration does it run? Answers, never throws. */

export interface RunningConfig {
  readonly hash: string | undefined;
  /** Why a newer set is not taken. */
  readonly pending: string | undefined;
}

async function ask(
  port: number,
  path: string,
): Promise<{ readonly status: number; readonly text: string } | undefined> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(2000) });
    return { status: response.status, text: await response.text() };
  } catch {
    return undefined;
  }
}

/** undefined: it takes mail; else the sentence why not (yet). */
export async function whyNotReady(port: number): Promise<string | undefined> {
  const answer = await ask(port, "/readyz");
  if (answer === undefined) return "the server does not answer yet";
  return answer.status === 200 ? undefined : answer.text.trim().slice(0, 500);
}

export async function runningConfig(port: number): Promise<RunningConfig> {
  const answer = await ask(port, "/config");
  try {
    const { hash, pending } = JSON.parse(answer?.text ?? "{}") as {
      readonly hash?: unknown;
      readonly pending?: { readonly message?: unknown } | null;
    };
    return {
      hash: typeof hash === "string" ? hash : undefined,
      pending: typeof pending?.message === "string" ? pending.message : undefined,
    };
  } catch {
    return { hash: undefined, pending: undefined };
  }
}
