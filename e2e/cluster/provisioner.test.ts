/** Provisioner: which claims get a volume and which volumes go, as tables. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Claim, plan, type Volume } from "./provisioner.ts";
import { provisionerName, storageClassName } from "./storage.ts";

type ClaimChange = Partial<Claim["spec"]> & Partial<Claim["metadata"]>;
const aClaim = ({ uid = "1", deletionTimestamp, ...spec }: ClaimChange = {}): Claim => ({
  metadata: { name: "data", namespace: "mail", uid, ...(deletionTimestamp ? { deletionTimestamp } : {}) },
  spec: { storageClassName, accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } }, ...spec },
});

const aVolume = (uid: string, phase: string, { policy = "Delete", by = provisionerName } = {}): Volume => ({
  metadata: { name: `pvc-${uid}`, uid: `volume-${uid}`, annotations: { "pv.kubernetes.io/provisioned-by": by } },
  spec: { persistentVolumeReclaimPolicy: policy },
  status: { phase },
});

const provided = (claim: Claim, ...volumes: Volume[]): boolean => plan([claim], volumes).provide.length === 1;
const removed = (volume: Volume): boolean => plan([], [volume]).remove.length === 1;

test("a new claim of our class gets a volume, once", () => {
  assert.equal(provided(aClaim()), true);
  assert.equal(provided(aClaim(), aVolume("1", "Available")), false);
  assert.equal(provided(aClaim(), aVolume("2", "Bound")), true);
});

test("claims of another class, bound ones, block ones and those on their way out get none", () => {
  assert.equal(provided(aClaim({ storageClassName: "other" })), false);
  assert.equal(provided(aClaim({ volumeName: "by-hand" })), false);
  assert.equal(provided(aClaim({ volumeMode: "Block" })), false);
  assert.equal(provided(aClaim({ deletionTimestamp: "2026-01-01T00:00:00Z" })), false);
});

test("only our own released volumes go, and only by their policy", () => {
  assert.equal(removed(aVolume("1", "Released")), true);
  assert.equal(removed(aVolume("1", "Bound")), false);
  assert.equal(removed(aVolume("1", "Released", { policy: "Retain" })), false);
  assert.equal(removed(aVolume("1", "Released", { by: "someone/else" })), false);
});
