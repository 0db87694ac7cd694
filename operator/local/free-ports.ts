/**
 * Are the ports free? Asked before the first start, because the person at the terminal can do something about it and a log line cannot.
 *
 * Stands in local/. Binds and lets go at once; between that and the server's own bind another program may still come, which the server then reports.
 */
import { createServer } from "node:net";

export interface Taken {
  readonly host: string;
  readonly port: number;
  readonly why: "taken" | "forbidden";
}

function tryBind(host: string, port: number): Promise<Taken | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (cause: NodeJS.ErrnoException) => {
      if (cause.code === "EADDRINUSE") resolve({ host, port, why: "taken" });
      else if (cause.code === "EACCES") resolve({ host, port, why: "forbidden" });
      // A host without IPv6 has nothing to be taken there.
      else resolve(undefined);
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

/** The addresses among `hosts` × `ports` that cannot be listened on. */
export async function takenAmong(hosts: readonly string[], ports: readonly number[]): Promise<Taken[]> {
  const answers = await Promise.all(hosts.flatMap((host) => ports.map((port) => tryBind(host, port))));
  return answers.filter((answer) => answer !== undefined);
}

export function explainTaken(taken: readonly Taken[], offset: number): string {
  const places = taken
    .map(({ host, port }) => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`))
    .join(", ");
  const many = taken.length > 1;
  if (taken.every(({ why }) => why === "forbidden"))
    return `This user may not listen on ${places}. Choose ports from 1024 on in the MailServer's listeners, or add an offset with --offset N.`;
  return `${places} ${many ? "are" : "is"} in use by another program, perhaps another Packetboat. Stop it, or choose other ports: npm start -- --offset ${offset + 100}`;
}
