/** Two pods and a real Redis: what they count together, and that mail goes on without it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Limits, RenderedConfig } from "../../server/config/schema.ts";
import { selfSigned } from "../peers/certificates.ts";
import { until } from "../peers/ports.ts";
import { Redis, redisMissing } from "../peers/redis.ts";
import { ServerAlone } from "../peers/server.ts";
import { SmtpDialogue } from "../peers/smtp.ts";

const skip = redisMissing() ?? false;

const counting =
  (redis: Redis, limits: Partial<Limits>) =>
  (sample: RenderedConfig): RenderedConfig => ({
    ...sample,
    server: { ...sample.server, limits: { ...sample.server.limits, ...limits } },
    secrets: {
      ...sample.secrets,
      sharedState: { url: `redis://127.0.0.1:${redis.port}/1`, password: redis.password },
    },
  });

async function pod(redis: Redis, limits: Partial<Limits>): Promise<ServerAlone> {
  const server = await ServerAlone.prepare(1);
  await server.render(counting(redis, limits));
  server.run();
  await until("the pod to be ready", 20_000, async () => (await server.ready()) === "ok");
  await shared(server);
  return server;
}

const metric = async (server: ServerAlone, pattern: RegExp): Promise<number> =>
  Number(pattern.exec(await (await server.admin("/metrics")).text())?.[1] ?? Number.NaN);
const available = (server: ServerAlone): Promise<number> =>
  metric(server, /^packetboat_shared_state_available\{[^}]*\} (\d)$/m);

const shared = (server: ServerAlone): Promise<void> =>
  until("the pod to count with the others", 10_000, async () => (await available(server)) === 1);

const OPEN = /^packetboat_connections_open\{listener="mx"\} (\d+)$/m;
const UNANSWERED = /^packetboat_shared_state_questions_total\{[^}]*result="(?:late|failed|skipped)"[^}]*\} (\d+)$/gm;

/** Questions that these pods had no answer to in time. */
async function unanswered(pods: readonly ServerAlone[]): Promise<number> {
  const texts = await Promise.all(pods.map(async (each) => await (await each.admin("/metrics")).text()));
  return texts.flatMap((text) => [...text.matchAll(UNANSWERED)]).reduce((sum, [, count]) => sum + Number(count), 0);
}

/**
 * What holds while the pods count together. Redis has 50 ms for an answer, else a pod counts for itself: that is right, and judges nothing. So where it does not hold,
 * and only if a question went unanswered meanwhile, it is asked again.
 */
async function together<T>(pods: readonly ServerAlone[], judge: (round: number) => Promise<T>): Promise<T> {
  for (let round = 0; ; round++) {
    const before = await unanswered(pods);
    try {
      return await judge(round);
    } catch (error) {
      if (round === 9 || (await unanswered(pods)) === before) throw error;
      await Promise.all(pods.map(shared));
    }
  }
}

/** The reply to MAIL FROM of a new connection. */
async function mail(server: ServerAlone, localAddress: string): Promise<string> {
  await using client = await SmtpDialogue.open(server.mx, { localAddress });
  await client.reply();
  await client.command("EHLO client.example");
  return await client.command("MAIL FROM:<>");
}

const messages = (count: number): Partial<Limits> => ({ rates: { messages: { count, perMs: 3_600_000 } } });

test("a rate holds for both pods; Redis gone: mail goes on; back: shared again", {
  skip,
  timeout: 90_000,
}, async () => {
  await using redis = await Redis.start();
  await using a = await pod(redis, messages(3));
  await using b = await pod(redis, messages(3));

  const known = await together([a, b], async (round) => {
    const client = `127.0.1.${round + 1}`;
    assert.match(await mail(a, client), /^250 /);
    assert.match(await mail(a, client), /^250 /);
    assert.match(await mail(b, client), /^250 /);
    assert.match(await mail(b, client), /^450 4\.7\.1 /);
    assert.match(await mail(a, client), /^450 4\.7\.1 /);
    return client;
  });
  // Bounded by time, named by the MailServer, in the database of the URL.
  const keys = redis.command("-n", "1", "KEYS", "*").split("\n");
  assert.ok(keys.length > 0 && keys.every((key) => key.startsWith("packetboat:default/mx:")), keys.join(" "));
  for (const key of keys) assert.ok(Number(redis.command("-n", "1", "PTTL", key)) > 0, key);

  await redis.kill();
  const begunMs = performance.now();
  assert.match(await mail(a, "127.0.0.3"), /^250 /);
  assert.match(await mail(b, "127.0.0.3"), /^250 /);
  assert.ok(performance.now() - begunMs < 2000);
  // Each for itself, from what it has counted: `a` has seen three of that client, refused ones included, `b` two.
  assert.match(await mail(a, known), /^450 4\.7\.1 /);
  assert.match(await mail(b, known), /^250 /);
  await until("the outage to be said", 10_000, async () => (await available(a)) === 0);
  await until("the line in the log", 5000, () => a.log().some(({ event }) => event === "shared-state-away"));

  await redis.run();
  await Promise.all([a, b].map(shared));
  await together([a, b], async (round) => {
    const client = `127.0.2.${round + 1}`;
    for (let count = 0; count < 3; count++) assert.match(await mail(count === 1 ? b : a, client), /^250 /);
    assert.match(await mail(b, client), /^450 4\.7\.1 /);
  });
  for (const each of [a, b]) assert.ok(!each.output.includes(redis.password), "a password in the log");
});

test("a wrong password is said, harms nobody, and is over when it is right", { skip, timeout: 60_000 }, async () => {
  await using redis = await Redis.start();
  redis.command("CONFIG", "SET", "requirepass", "another one");
  await using a = await ServerAlone.prepare(1);
  await a.render(counting(redis, messages(1)));
  a.run();
  await until("the pod to be ready", 20_000, async () => (await a.ready()) === "ok");
  const said = (): Record<string, unknown> | undefined => a.log().find(({ event }) => event === "shared-state-away");
  await until("the reason to be said", 15_000, () => said() !== undefined);
  assert.match(String(said()?.["error"]), /^WRONGPASS/);
  assert.match(await mail(a, "127.0.0.2"), /^250 /);
  assert.match(await mail(a, "127.0.0.2"), /^450 /);
  redis.command("-a", "another one", "CONFIG", "SET", "requirepass", redis.password);
  await until("it to be shared", 20_000, async () => (await available(a)) === 1);
});

test("over TLS, with the authority of the Secret and no other", { skip, timeout: 60_000 }, async () => {
  const [own, other] = [await selfSigned("localhost"), await selfSigned("localhost")];
  await using redis = await Redis.start(own);
  await using a = await ServerAlone.prepare(1);
  const over = (authority: string) => (sample: RenderedConfig) => {
    const { secrets, ...rest } = counting(redis, messages(1))(sample);
    const url = `rediss://:${encodeURIComponent(redis.password)}@localhost:${redis.tlsPort}`;
    return { ...rest, secrets: { ...secrets, sharedState: { url, authority } } };
  };
  await a.render(over(other.certificate));
  a.run();
  await until("the pod to be ready", 20_000, async () => (await a.ready()) === "ok");
  await until("the refusal to be said", 15_000, () =>
    a.log().some(({ event, error }) => event === "shared-state-away" && /certificate/i.test(String(error))),
  );
  await a.render(over(own.certificate));
  await until("it to be shared", 20_000, async () => (await available(a)) === 1);
  assert.match(await mail(a, "127.0.0.2"), /^250 /);
  // Nobody waits longer than 50 ms for Redis; it hears of it all the same.
  await until("the key", 10_000, () =>
    /^packetboat:default\/mx:window:rate-messages:127\.0\.0\.2$/m.test(redis.command("KEYS", "*")),
  );
  assert.ok(!a.output.includes(redis.password) && !a.output.includes(encodeURIComponent(redis.password)));
});

test("a Redis that hangs costs nobody more than its deadline", { skip, timeout: 60_000 }, async () => {
  await using redis = await Redis.start();
  await using a = await pod(redis, messages(1000));
  redis.signal("SIGSTOP");
  try {
    // Until the breaker opens a session asks a few times, 50 ms each.
    for (let count = 0; count < 10; count++) {
      const begunMs = performance.now();
      assert.match(await mail(a, "127.0.0.2"), /^250 /);
      assert.ok(performance.now() - begunMs < 1500, "the client waited");
    }
    assert.ok((await metric(a, /^packetboat_shared_state_questions_total\{result="late"\} (\d+)$/m)) > 0);
    assert.equal(await available(a), 0);
  } finally {
    redis.signal("SIGCONT");
  }
  await until("it to be shared again", 15_000, async () => (await available(a)) === 1);
});

test("connections of one client are places of all pods; a pod that is killed keeps none for ever", {
  skip,
  timeout: 60_000,
}, async () => {
  await using redis = await Redis.start();
  await using a = await pod(redis, { connectionsPerClient: 2 });
  await using b = await pod(redis, { connectionsPerClient: 2 });
  const opened = new Set<SmtpDialogue>();
  const close = async (client: SmtpDialogue): Promise<void> => {
    opened.delete(client);
    await client[Symbol.asyncDispose]();
  };
  const greeting = async (server: ServerAlone, localAddress: string): Promise<readonly [string, SmtpDialogue]> => {
    const client = await SmtpDialogue.open(server.mx, { localAddress });
    opened.add(client);
    return [await client.reply(), client];
  };
  try {
    const [from, one] = await together([a, b], async (round) => {
      for (const client of opened) await close(client);
      const address = `127.0.3.${round + 1}`;
      const [first, ofA] = await greeting(a, address);
      const [second] = await greeting(b, address);
      assert.match(`${first}${second}`, /^220 .*220 /s);
      const [third] = await greeting(b, address);
      assert.match(third, /^421 4\.7\.0 Too many connections from your address/);
      return [address, ofA] as const;
    });

    await close(one);
    let [again, three] = await greeting(b, from);
    while (!again.startsWith("220 ")) [again, three] = await greeting(b, from);
    await close(three);
    const key = `packetboat:default/mx:places:client:${from}`;
    await until("the place to be given back", 5000, () => redis.command("-n", "1", "HVALS", key).startsWith("1 "));

    const [fourth] = await greeting(a, from);
    assert.match(fourth, /^220 /);
    // All processes at once, as when a node is lost: nothing is given back.
    for (const pid of [a.pid, ...a.shards()]) process.kill(pid, "SIGKILL");
    await together([b], async () => {
      // Only one is open at `b`: who is refused is refused for what Redis knows.
      await until("one connection at b", 5000, async () => (await metric(b, OPEN)) === 1);
      const [fifth, client] = await greeting(b, from);
      if (fifth.startsWith("220 ")) await close(client);
      assert.match(fifth, /^421 /);
    });
    const leftMs = Number(redis.command("-n", "1", "PTTL", key));
    assert.ok(leftMs > 0 && leftMs <= 30_000, `${leftMs}`);
    // What time would do: the dead pod's lease has ended.
    const fields = redis.command("-n", "1", "HGETALL", key).split("\n");
    assert.equal(fields.length, 4, fields.join(" "));
    for (let place = 0; place < fields.length; place += 2) {
      const [pod = "", value = ""] = fields.slice(place, place + 2);
      redis.command("-n", "1", "HSET", key, pod, value.replace(/ \d+$/, " 1"));
    }
    // The other pod says again and again what it holds, so that only the dead one's place is free.
    await until("the living pod to say what it holds", 15_000, () => {
      const values = redis.command("-n", "1", "HVALS", key).split("\n");
      return values.some((value) => Number(value.split(" ")[1]) > 1);
    });
    const [sixth] = await greeting(b, from);
    assert.match(sixth, /^220 /);
  } finally {
    for (const client of opened) await close(client);
  }
});
