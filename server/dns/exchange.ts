/**
 * One question to one server: UDP, and TCP when the answer did not fit.
 *
 * The only part of `server/dns` that owns sockets. Every question gets a random id and its own socket (random source port), connected to the
 * server, so that the kernel drops what comes from elsewhere; datagrams that do not match are waited past, not believed.
 * Fails as `undefined`: no usable answer within the time. RFC 1035 §4.2, RFC 5452 §9 (forgery), RFC 7766 (TCP).
 */
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect, isIPv6 } from "node:net";
import type { DnsServer } from "./servers.ts";
import { decodeAnswer, encodeQuery, type QuestionType, type WireAnswer } from "./wire.ts";

export interface Question {
  readonly name: string;
  readonly type: QuestionType;
}

export async function ask(server: DnsServer, question: Question, timeoutMs: number): Promise<WireAnswer | undefined> {
  const answer = await askByUdp(server, question, timeoutMs);
  return answer?.truncated === true ? await askByTcp(server, question, timeoutMs) : answer;
}

function askByUdp(server: DnsServer, { name, type }: Question, timeoutMs: number): Promise<WireAnswer | undefined> {
  return new Promise((resolve) => {
    const id = randomInt(0x10000);
    const socket = createSocket(isIPv6(server.address.split("%")[0] ?? "") ? "udp6" : "udp4");
    const timer = setTimeout(() => finish(undefined), timeoutMs);
    let finished = false;
    const finish = (answer: WireAnswer | undefined): void => {
      if (finished) return;
      finished = true;
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    socket.on("error", () => finish(undefined));
    socket.on("message", (data) => {
      const answer = decodeAnswer(data, id, name, type);
      if (answer !== undefined) finish(answer);
    });
    socket.connect(server.port, server.address, () => {
      // Connecting to a literal fails only for want of a route, and that arrives as `error`.
      if (!finished) socket.send(encodeQuery(id, name, type), (error) => error && finish(undefined));
    });
  });
}

function askByTcp(server: DnsServer, { name, type }: Question, timeoutMs: number): Promise<WireAnswer | undefined> {
  return new Promise((resolve) => {
    const id = randomInt(0x10000);
    const socket = connect({ host: server.address, port: server.port });
    const timer = setTimeout(() => finish(undefined), timeoutMs);
    const chunks: Buffer[] = [];
    let length = 0;
    const finish = (answer: WireAnswer | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    socket.on("error", () => finish(undefined));
    socket.on("close", () => finish(undefined));
    socket.on("connect", () => {
      const query = encodeQuery(id, name, type);
      const prefix = Buffer.alloc(2);
      prefix.writeUInt16BE(query.length);
      socket.write(Buffer.concat([prefix, query]));
    });
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length < 2) return;
      const all = chunks.length === 1 ? chunk : Buffer.concat(chunks);
      // 65,535 octets at most by the format; a server that sends more is not waited for.
      const expected = 2 + all.readUInt16BE(0);
      if (length >= expected) finish(decodeAnswer(all.subarray(2, expected), id, name, type));
      else if (chunks.length > 1) chunks.splice(0, chunks.length, all);
    });
  });
}
