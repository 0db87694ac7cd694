/**
 * `npm run bench -- destinations`: what healthy mail suffers when 30 of 100 destinations are dead.
 *
 * A destination is a domain with a next hop of its own (an address of 127.1.0.0/16; a Route here, transport_maps there). Dead ones refuse connections, say
 * nothing, answer 450 to every recipient, or send a greeting that never ends. Every destination gets the same share of a steady stream of mail. First only the
 * 70 healthy ones get theirs, then all 100 do: the healthy ones' delays, from when a message was due to be sent until it is at the sink, are compared.
 * Each run starts with a server that was just started and an empty queue. What has not come a minute after the last was sent counts as never.
 */
import { mkdtempSync, rmSync, writeFileSync, chmodSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Packetboat } from "../e2e/peers/packetboat.ts";
import { freePort } from "../e2e/peers/ports.ts";
import { Postfix } from "../e2e/peers/postfix.ts";
import { Arrivals, type Manner } from "./arrivals.ts";
import type { BenchOptions } from "./options.ts";
import { delays, sendPaced } from "./paced.ts";
import { quantile, type Report, shown, soFar, type Target } from "./report.ts";
import { mailServer, type Side, sideOf } from "./sides.ts";

const DESTINATIONS = 100;
const DEAD = 30;
const PER_SECOND = 2;
const SECONDS = 60;
const WARM_UP_SECONDS = 10;
const PATIENCE_MS = 60_000;
const deadManners: readonly (Manner | "refuse")[] = ["refuse", "hang", "refuse4xx", "drip"];

interface Destination {
  readonly domain: string;
  readonly address: string;
  readonly port: number;
}

const addressOf = (number: number): string => `127.1.0.${number + 1}`;

/** The dead first. */
async function destinationsOf(arrivals: Arrivals): Promise<readonly Destination[]> {
  const closed = await freePort();
  const places: Destination[] = [];
  for (let number = 0; number < DESTINATIONS; number++) {
    const manner = number < DEAD ? (deadManners[number % deadManners.length] ?? "refuse") : "take";
    const address = addressOf(number);
    const port = manner === "refuse" ? closed : await arrivals.listen(manner, address);
    places.push({ domain: `d${number}.example`, address, port });
  }
  return places;
}

const routes = (places: readonly Destination[]): string =>
  places
    .map(
      ({ domain, address, port }, number) => `apiVersion: mail.packetboat.io/v1alpha1
kind: Route
metadata: {name: d${number}}
spec:
  destinations: [${domain}]
  serverRef: {name: mx}
  nextHop: {host: ${address}, port: ${port}}
`,
    )
    .join("---\n");

/** Milliseconds of every healthy message. */
async function run(
  side: Side,
  arrivals: Arrivals,
  options: { readonly dead: boolean; readonly name: string; readonly scale: number },
): Promise<number[]> {
  const first = options.dead ? 0 : DEAD;
  const count = DESTINATIONS - first;
  const pace = { port: side.port, perSecond: count * PER_SECOND * options.scale, bytes: 4096, connections: 20 };
  const warm = { ...pace, seconds: WARM_UP_SECONDS };
  const healthy = DESTINATIONS - DEAD;
  // Only healthy ones: the dead ones' trouble begins with what is measured.
  await delays(
    arrivals,
    await sendPaced({
      ...warm,
      recipient: (number) => `${options.name}-warm${number}@d${DEAD + (number % healthy)}.example`,
    }),
    PATIENCE_MS,
  );
  const dueMs = await sendPaced({
    ...pace,
    seconds: SECONDS,
    recipient: (number) => `${options.name}-${number}@d${first + (number % count)}.example`,
  });
  const toHealthy = new Map([...dueMs].filter(([recipient]) => Number(/@d(\d+)/.exec(recipient)?.[1]) >= DEAD));
  return await delays(arrivals, toHealthy, PATIENCE_MS);
}

export async function destinations({ rounds = 1, scale }: BenchOptions): Promise<Report> {
  const directory = mkdtempSync(join(tmpdir(), "bench-destinations-"));
  chmodSync(directory, 0o755);
  try {
    await using arrivals = new Arrivals();
    const places = await destinationsOf(arrivals);
    const elsewhere = await freePort();
    const map = join(directory, "transport");
    writeFileSync(map, places.map(({ domain, address, port }) => `${domain} smtp:[${address}]:${port}\n`).join(""));
    const manifests = { "bench.yaml": `${mailServer(elsewhere)}---\n${routes(places)}` };
    const starts = {
      Packetboat: () => Packetboat.start(manifests),
      Postfix: () => Postfix.start(elsewhere, `transport_maps = texthash:${map}`),
    };
    const table = [
      ["healthy mail, ms", "p50 without dead", "p50 with", "p99 without", "p99 with", "ratio of p99", "never came"],
    ];
    const targets: Target[] = [];
    for (const [name, start] of Object.entries(starts)) {
      const runs: [number[], number[]] = [[], []];
      for (let round = 0; round < rounds; round++)
        for (const dead of [false, true]) {
          await using server = await start();
          const found = await run(sideOf(server), arrivals, { dead, name: `${name}-${round}-${dead}`, scale });
          runs[dead ? 1 : 0].push(...found);
          soFar("destinations", [name, dead ? "with dead" : "without", `p99 ${shown(quantile(found, 0.99))} ms`]);
        }
      const [without, withDead] = runs;
      const ratio = quantile(withDead, 0.99) / quantile(without, 0.99);
      const never = withDead.filter((delay) => delay === Number.POSITIVE_INFINITY).length;
      const figures = [0.5, 0.99].flatMap((share) => [quantile(without, share), quantile(withDead, share)]);
      table.push([
        name,
        ...figures.map((figure) => (Number.isFinite(figure) ? shown(figure) : "never")),
        shown(ratio),
        `${never} of ${withDead.length}`,
      ]);
      if (name === "Packetboat")
        targets.push({
          what: "p99 of healthy mail, times the run without dead destinations",
          figure: ratio,
          bound: 2,
          kind: "atMost",
        });
    }
    return {
      table,
      notes: [
        `${DESTINATIONS} destinations, ${DEAD} dead (${deadManners.join(", ")}), ${shown(PER_SECOND * scale)} messages of 4 KiB a second to each, ${SECONDS} s, rounds: ${rounds}.`,
      ],
      targets,
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
