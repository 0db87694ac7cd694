/**
 * Test fixture: a DNS server on loopback, UDP and TCP, that answers from zone data. Used by *.test.ts only; closed by `t.after`.
 */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import type { TestContext } from "node:test";
import dnsPacket, { type Answer } from "dns-packet";
import { createResolver, type Dns } from "./resolver.ts";

export interface Zone {
  /** `NAME TYPE` → data. A name without any record is NXDOMAIN. */
  readonly records: Readonly<Record<string, readonly unknown[]>>;
  readonly authenticData?: boolean;
  readonly truncate?: boolean;
  readonly ttl?: number;
  readonly rcode?: number;
}

export interface TestDns {
  readonly server: string;
  readonly questions: string[];
  zone: Zone;
  /** Changes the bytes of a UDP answer before they leave. Empty: no answer. */
  mangle?: (answer: Buffer) => Buffer;
}

export async function aDnsServer(t: TestContext, zone: Zone): Promise<TestDns> {
  const dns: { -readonly [K in keyof TestDns]: TestDns[K] } = { server: "", questions: [], zone };
  const answerTo = (query: Buffer, udp: boolean): Buffer => {
    const { id, questions } = dnsPacket.decode(query);
    const question = questions?.[0];
    if (question === undefined) return Buffer.alloc(0);
    const name = question.name.toLowerCase();
    dns.questions.push(`${udp ? "udp" : "tcp"} ${name} ${question.type}`);
    const { records, authenticData, truncate, ttl = 60, rcode } = dns.zone;
    const alias = records[`${name} CNAME`]?.[0];
    const owner = typeof alias === "string" ? alias : name;
    const answers = [
      ...(typeof alias === "string" ? [{ name, type: "CNAME", ttl, data: alias }] : []),
      ...(records[`${owner} ${question.type}`] ?? []).map((data) => ({ name: owner, type: question.type, ttl, data })),
    ] as Answer[];
    const exists = Object.keys(records).some((key) => key.startsWith(`${owner} `));
    const cut = truncate === true && udp;
    return dnsPacket.encode({
      type: "response",
      ...(id === undefined ? {} : { id }),
      flags:
        dnsPacket.RECURSION_DESIRED |
        dnsPacket.RECURSION_AVAILABLE |
        (authenticData === true ? dnsPacket.AUTHENTIC_DATA : 0) |
        (cut ? dnsPacket.TRUNCATED_RESPONSE : 0) |
        (rcode ?? (exists ? 0 : 3)),
      questions: [question],
      answers: cut ? [] : answers,
    });
  };
  const tcp = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (data: Buffer) => {
      const answer = answerTo(data.subarray(2), false);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(answer.length);
      // In two pieces, as TCP may.
      socket.write(Buffer.concat([length, answer.subarray(0, 5)]));
      setImmediate(() => socket.end(answer.subarray(5)));
    });
  });
  const { port, udp } = await bothOn(tcp);
  udp.on("message", (query, from) => {
    const answer = answerTo(query, true);
    const sent = dns.mangle === undefined ? answer : dns.mangle(answer);
    if (sent.length > 0) udp.send(sent, from.port, from.address);
  });
  dns.server = `127.0.0.1:${port}`;
  t.after(() => {
    udp.close();
    tcp.close();
  });
  return dns;
}

/** The port that TCP was given may be taken for UDP: then another. */
async function bothOn(tcp: Server): Promise<{ readonly port: number; readonly udp: Socket }> {
  for (let left = 4; ; left--) {
    tcp.listen(0, "127.0.0.1");
    await once(tcp, "listening");
    const address = tcp.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const udp = createSocket("udp4");
    try {
      udp.bind(port, "127.0.0.1");
      await once(udp, "listening");
      return { port, udp };
    } catch (error) {
      udp.close();
      tcp.close();
      if (left === 0 || (error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
      await once(tcp, "close");
    }
  }
}

/** A resolver that asks this zone. */
export async function aResolver(t: TestContext, records: Zone["records"]): Promise<Dns> {
  const dns = await aDnsServer(t, { records });
  return createResolver({ servers: () => [dns.server], timeoutMs: 500 });
}
