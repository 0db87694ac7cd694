/**
 * What of the original goes back with a report: all of it while it is short and was asked for, else its header.
 *
 * Reads the queue's stream and stops as soon as it knows enough: memory is bounded by 50,000 octets and a chunk whatever the message. Unreadable content gives an
 * empty part: a report without the original is better than none. RFC 3461 §4.3 (RET), §6.2 (size is ours to bound), RFC 6522 §4.
 */
export const mostReturned = 50_000;

export interface ReturnedContent {
  readonly kind: "message" | "headers";
  readonly bytes: Buffer;
}

export async function returnedContent(
  content: AsyncIterable<Buffer>,
  wanted: "FULL" | "HDRS" | undefined,
): Promise<ReturnedContent> {
  const chunks: Buffer[] = [];
  let length = 0;
  let complete = true;
  try {
    for await (const chunk of content) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > mostReturned) {
        complete = false;
        break;
      }
    }
  } catch {
    complete = false;
  }
  const bytes = Buffer.concat(chunks);
  if (complete && wanted !== "HDRS" && length <= mostReturned) return { kind: "message", bytes };
  return { kind: "headers", bytes: headerOf(bytes) };
}

/** The header with its last line end; all of it where no empty line follows. */
export function headerSection(bytes: Buffer): Buffer {
  const end = bytes.indexOf("\r\n\r\n");
  return end < 0 ? bytes : bytes.subarray(0, end + 2);
}

/** Up to the empty line; a header longer than what we return ends with its last whole line. */
function headerOf(bytes: Buffer): Buffer {
  const end = bytes.indexOf("\r\n\r\n");
  if (end >= 0 && end < mostReturned) return bytes.subarray(0, end + 2);
  const cut = bytes.subarray(0, mostReturned);
  return cut.subarray(0, cut.lastIndexOf("\r\n") + 2);
}
