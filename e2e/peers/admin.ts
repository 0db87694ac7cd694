/** What tests ask a server's admin port. */
export const askAdmin = (port: number, path: string): Promise<Response> =>
  fetch(`http://127.0.0.1:${port}${path}`, {
    // A server that is started anew ends connections that were kept.
    headers: { connection: "close" },
    // The server itself waits ten seconds for a shard that is just starting.
    signal: AbortSignal.timeout(15_000),
  });

/** Nothing is in any queue. While a shard is not back yet there is a sentence instead of figures, or no answer: then it is not known, and false. */
export async function isQueueEmpty(server: { readonly admin: (path: string) => Promise<Response> }): Promise<boolean> {
  const answer = await server.admin("/queue").catch(() => undefined);
  if (answer?.status !== 200) return false;
  const { messages } = (await answer.json()) as { messages: Record<string, number> };
  return Object.values(messages).every((count) => count === 0);
}
