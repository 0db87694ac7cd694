/**
 * Opening a socket to one address: TCP or a unix socket.
 *
 * First step of a session. Binds to the source address of the endpoint's family where there is one. Promises a connected socket or, within the
 * time or at the abort, a 4.4.1 reply that says why; never throws.
 * RFC 5321 §4.5.3.2 (initial connection), RFC 3463 X.4.1 (no answer from host).
 */
import { connect, isIP, type Socket } from "node:net";
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
  sources: readonly string[] = [],
): Promise<Socket | Reply> {
  return new Promise((resolve) => {
    const source = endpoint.kind === "tcp" ? sources.find((each) => isIP(each) === isIP(endpoint.address)) : undefined;
    const socket =
      endpoint.kind === "tcp"
        ? connect({
            host: endpoint.address,
            port: endpoint.port,
            noDelay: true,
            ...(source === undefined ? {} : { localAddress: source }),
          })
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
        text: `connect to ${endpoint.kind === "tcp" ? host : ""}${endpointText(endpoint)}${source === undefined ? "" : ` from ${source}`}: ${why}`,
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
  // Our own configuration: sourceAddresses names an address this pod does not have.
  EADDRNOTAVAIL: "Cannot assign requested address",
  ENOENT: "No such file or directory",
  EACCES: "Permission denied",
};
const sentenceOf = (error: NodeJS.ErrnoException): string => sentences[error.code ?? ""] ?? error.code ?? "failed";
