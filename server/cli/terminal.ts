/** Where a command reads and writes, so that tests can watch it; and the bar that shows how long work goes on, on a terminal only. */
import type { Readable, Writable } from "node:stream";
import { once } from "node:events";
import { SingleBar } from "cli-progress";
import type { Progress } from "../admin/tools.ts";

export interface Terminal {
  readonly input: Readable;
  readonly output: Writable;
  readonly complaints: Writable & { readonly isTTY?: boolean };
}

/** A reader that is slower than we are is waited for. */
export async function print({ output }: Terminal, text: string): Promise<void> {
  if (!output.write(`${text}\n`) && !output.destroyed) await once(output, "drain").catch(() => undefined);
}

export const complain = ({ complaints }: Terminal, text: string): void =>
  void complaints.write(`packetboat: ${text}\n`);

export interface Bar {
  show(progress: Progress): void;
  end(): void;
}

export function progressBar({ complaints }: Terminal, what: string): Bar {
  if (complaints.isTTY !== true) return { show: () => undefined, end: () => undefined };
  const bar = new SingleBar({
    format: `${what} {bar} {value}/{total} {eta_formatted}`,
    stream: complaints as NodeJS.WriteStream,
    hideCursor: true,
    clearOnComplete: true,
  });
  let isStarted = false;
  return {
    show({ done, total = done }) {
      if (isStarted) bar.setTotal(total);
      else bar.start(total, done);
      isStarted = true;
      bar.update(done);
    },
    end() {
      if (isStarted) bar.stop();
    },
  };
}
