/** A server's log as objects, one a line. It is read while it is written, so the last line counts once it has ended; what is no JSON (a runtime's warning) is passed over. */
export const logLines = (text: string): Record<string, unknown>[] =>
  text
    .slice(0, text.lastIndexOf("\n") + 1)
    .split("\n")
    .filter((line) => line.startsWith("{") && line.endsWith("}"))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
