/**
 * The corpus of crds/ put to a real kube-apiserver: it says yes and no to the same documents as `parseObject`, and fills in the same defaults. Skipped, with the
 * reason, where the binaries are missing (`e2e/cluster` builds them).
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { corpus } from "../../crds/corpus.ts";
import { customResourceDefinition } from "../../crds/crd.ts";
import { kinds, type MailKind, parseObject } from "../../crds/kinds.ts";
import { type ApiServerProcess, missingBinaries, startApiServer } from "../../operator/kube/api-server-process.ts";

interface Answer {
  readonly isTaken: boolean;
  readonly spec: unknown;
  readonly says: string;
}

/** As `kubectl create --dry-run=server --validate=strict`. */
async function asked(api: ApiServerProcess, kind: string, document: unknown): Promise<Answer> {
  const { plural } = kinds[kind as MailKind];
  const path = `/apis/mail.packetboat.io/v1alpha1/namespaces/default/${plural}`;
  const query = { dryRun: "All", fieldValidation: "Strict" };
  const answer = await api.client.raw<{ readonly spec: unknown }>({ method: "POST", path, query, body: document });
  return answer.ok
    ? { isTaken: true, spec: answer.value.spec, says: "taken" }
    : { isTaken: false, spec: undefined, says: `${answer.failure.code} ${answer.failure.message}` };
}

test("a real API server and parseObject say the same of the whole corpus", {
  skip: missingBinaries() ?? false,
}, async () => {
  const api = await startApiServer();
  try {
    for (const definition of Object.values(kinds)) {
      const made = await api.client.raw({
        method: "POST",
        path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        body: customResourceDefinition(definition),
      });
      assert.ok(made.ok, `${definition.kind}: ${made.ok ? "" : made.failure.message}`);
    }
    const cases = corpus();
    // A kind is served a moment after its definition was taken.
    for (const kind of new Set(cases.map((each) => each.kind)))
      for (let tries = 0; (await asked(api, kind, {})).says.startsWith("404"); tries++) {
        assert.ok(tries < 200, `${kind} is not served`);
        await sleep(50);
      }
    const differences: string[] = [];
    for (const { name, kind, document, refusal } of cases) {
      const { isTaken, spec, says } = await asked(api, kind, document);
      if (isTaken !== (refusal === undefined)) {
        differences.push(`${name}: ${says}, here ${refusal ?? "taken"}`);
        continue;
      }
      const ours = parseObject(document);
      if (!isTaken || !ours.ok) continue;
      try {
        assert.deepEqual(JSON.parse(JSON.stringify(ours.object.spec)), spec);
      } catch (error) {
        differences.push(`${name}: other defaults: ${String(error)}`);
      }
    }
    assert.deepEqual(differences, []);
  } finally {
    await api.stop();
  }
});
