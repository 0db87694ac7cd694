/**
 * Opening a socket to one address: TCP or a unix socket.
 *
 * First step of a session. Promises a connected socket or, within the time or at the abort, a 4.4.1 reply that says why; never throws.
 * RFC 5321 §4.5.3.2 (initial connection), RFC 3463 X.4.1 (no answer from host).
 */
import { connect, type Socket } from "node:net";
import type { Reply } from "../reply.ts";

export type Endpoint =
  | { readonly kind: "tcp"; readonly address: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

export const endpointText = (endpoint: Endpoint): string =>
  endpoint.kind === "tcp" ? `[${endpoint.address}]:${endpoint.port}` : endpoint.path;

export function openSocket(
  endpoint: Endpoint,
  host: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Socket | Reply> {
  return new Promise((resolve) => {
    const socket =
      endpoint.kind === "tcp"
        ? connect({ host: endpoint.address, port: endpoint.port, noDelay: true })
        : connect({ path: endpoint.path });
    const finish = (result: Socket | Reply): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      socket.off("error", onError);
      if (result !== socket) {
        // Late errors of a socket nobody owns any more.
        socket.on("error", () => undefined);
        socket.destroy();
      }
      resolve(result);
    };
    const failed = (why: string): void =>
      finish({
        code: 451,
        enhanced: "4.4.1",
        text: `connect to ${endpoint.kind === "tcp" ? host : ""}${endpointText(endpoint)}: ${why}`,
      });
    const onError = (error: NodeJS.ErrnoException): void => failed(sentenceOf(error));
    const onAbort = (): void => failed("given up");
    const timer = setTimeout(() => failed("Connection timed out"), timeoutMs);
    socket.once("error", onError);
    socket.once("connect", () => finish(socket));
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** The words an administrator greps for. */
const sentences: Readonly<Record<string, string>> = {
  ECONNREFUSED: "Connection refused",
  ETIMEDOUT: "Connection timed out",
  EHOSTUNREACH: "No route to host",
  ENETUNREACH: "Network is unreachable",
  ECONNRESET: "Connection reset by peer",
  ENOENT: "No such file or directory",
  EACCES: "Permission denied",
};
const sentenceOf = (error: NodeJS.ErrnoException): string => sentences[error.code ?? ""] ?? error.code ?? "failed";
