/** Where the control socket lies, and what the server behind it says of itself: the little that its callers need to know of it. */
export const CONTROL_SOCKET = "control.sock";

export interface ServerInfo {
  readonly hostname: string | null;
  readonly shards: number;
  readonly hash: string | null;
  /** The ports as they are open, offset included. */
  readonly listeners: readonly { readonly name: string; readonly role: string; readonly port: number }[];
}
