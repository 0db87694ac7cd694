/**
 * An SMTP reply as a value: what a peer was told, or told us. Used by every stage; carries no behaviour.
 * RFC 5321 §4.2 (codes), RFC 3463 (enhanced codes).
 */
export interface Reply {
  /** 200 to 599. */
  readonly code: number;
  /** `class.subject.detail`, e.g. `5.1.1`; empty where the peer gave none. */
  readonly enhanced: string;
  /** One line or several joined by `\n`, without code and enhanced code. */
  readonly text: string;
}

export const isPermanent = (reply: Pick<Reply, "code">): boolean => reply.code >= 500;

/** `550 5.1.1 Text`, on one line, for logs and reports. */
export const replyLine = (reply: Reply): string =>
  [String(reply.code), reply.enhanced, reply.text.replaceAll("\n", " ")].filter((part) => part !== "").join(" ");
