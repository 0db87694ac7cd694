/**
 * Group commit: everything that is ready in one transaction, answers only after its COMMIT has returned.
 *
 * COMMIT returns when the log is synced (synchronous=FULL), so an answer means stable storage. Results of deliveries that travel alone are the exception:
 * they are in the log, safe from the death of the process, and are synced while the next group gathers; a power cut in that moment delivers that mail once
 * more and loses none (docs/decisions/0033). A request that fails is rolled back alone
 * (SAVEPOINT), its neighbours go on. Fails as a whole in two ways: no space (rolled back; what needs space is refused, the rest is tried once more)
 * and storage that is broken (StorageFailed: final, nothing of the group is answered).
 */
import type { DatabaseSync } from "node:sqlite";
import { FreeSpace, Log } from "./database.ts";
import { type Ours, operations } from "./operations.ts";
import type { Answer, FromWorker, RawFailure, Request, Space, WorkerOptions } from "./protocol.ts";
import { Query } from "./query.ts";
import { Reserve } from "./reserve.ts";
import { Spool } from "./spool.ts";
import { describeError, isRefusedWrite, type Trouble, troubleOf } from "./sqlite-error.ts";

export type WorkRequest = Exclude<Request, { readonly op: "close" }>;
export type GroupAnswers = Extract<FromWorker, { readonly kind: "answers" }>;

/** Storage that is not to be trusted any more. */
export class StorageFailed extends Error {}
/** The transaction is gone for lack of space. */
class NoSpace extends Error {
  constructor() {
    super("no space left for the queue");
  }
}

interface LongWork {
  readonly serial: number;
  readonly steps: Generator<void, unknown>;
}

/** Pages of 4 KiB in the log at which it is brought into the database file. With one more group it must fit into the reserve. */
const CHECKPOINT_PAGES = 2048;
const nothing = new Uint8Array(0);
/** Results of deliveries and nothing else: nobody was promised anything by them that a power cut could break. */
const mayBeSyncedLater = (group: readonly WorkRequest[]): boolean =>
  group.some(({ op }) => op === "settle") && group.every(({ op }) => op === "settle" || operations[op].kind === "read");
const noSpace: RawFailure = { reason: "full", message: "no space left for the queue" };
const closed: RawFailure = { reason: "closed", message: "the queue is closed" };

export class GroupCommitter {
  readonly spool: Spool;
  readonly #ours: Ours;
  readonly #freeSpace: FreeSpace;
  readonly #log: Log;
  readonly #reserve: Reserve;
  readonly #begin: Query;
  readonly #commit: Query;
  readonly #savepoint: Query;
  readonly #release: Query;
  readonly #rollbackTo: Query;
  /** Continued one step a group, the first first. */
  #long: LongWork[] = [];
  #inTransaction = false;

  constructor(db: DatabaseSync, options: WorkerOptions) {
    this.spool = new Spool(db, options.maxFutureMs, () => this.#ensureTransaction());
    this.#ours = { ours: options.path, nowMs: options.nowMs, maxFutureMs: options.maxFutureMs };
    this.#freeSpace = new FreeSpace(db);
    this.#log = new Log(db, options.path);
    this.#reserve = new Reserve(options.path, options.reserveBytes);
    this.#begin = new Query(db, "BEGIN IMMEDIATE");
    this.#commit = new Query(db, "COMMIT");
    this.#savepoint = new Query(db, "SAVEPOINT item");
    this.#release = new Query(db, "RELEASE item");
    this.#rollbackTo = new Query(db, "ROLLBACK TO item");
  }

  /** Before anything else; see `Transitions.recover`. */
  recover(nowMs: number): { readonly cutOff: number; readonly halfReceived: number } {
    try {
      return this.#recoverOnce(nowMs);
    } catch (error) {
      if (this.#troubleOf(error) !== "full" && !(error instanceof NoSpace)) throw error;
      if (this.spool.db.isTransaction) this.spool.db.exec("ROLLBACK");
      this.#inTransaction = false;
      this.#makeSpace();
      return this.#recoverOnce(nowMs);
    }
  }

  #recoverOnce(nowMs: number): { readonly cutOff: number; readonly halfReceived: number } {
    this.#ensureTransaction();
    const found = this.spool.transitions.recover(nowMs);
    this.#commitAll();
    return found;
  }

  get space(): Space {
    return { innerFreeBytes: this.#freeSpace.bytes(), missingReserveBytes: this.#reserve.missingBytes };
  }

  get hasLongWork(): boolean {
    return this.#long.length > 0;
  }

  /** Throws StorageFailed. */
  run(group: readonly WorkRequest[]): GroupAnswers {
    const start = performance.now();
    const totals = this.spool.census.snapshot();
    this.#log.syncsCommits = this.hasLongWork || !mayBeSyncedLater(group);
    let answers: readonly Answer[];
    let items = 0;
    try {
      // Work begun in this very group gets its first step in it.
      answers = [...group.flatMap((request) => this.#answer(request)), ...this.#continueLong()];
      if (this.#inTransaction) items = Math.max(1, group.filter(({ op }) => operations[op].kind !== "read").length);
      this.#commitAll();
    } catch (error) {
      if (!(error instanceof NoSpace)) throw error;
      this.spool.census.restore(totals);
      answers = this.#withoutSpace(group);
    }
    const commit = items === 0 ? undefined : { items, seconds: (performance.now() - start) / 1000 };
    return { kind: "answers", answers, commit, space: this.space };
  }

  /** What has been answered and is not on stable storage goes there now, beside the next group. `failed` gets StorageFailed. */
  syncBeside(failed: (error: StorageFailed) => void): void {
    this.#log.syncBeside((cause) => failed(new StorageFailed(describeError(cause), { cause })));
  }

  /** After the answers are out: whoever waits for them shall not wait for this. */
  tidy(): void {
    // So it is between groups; telling SQLite takes a moment, which the next message shall not wait for.
    this.#log.syncsCommits = true;
    if (this.#log.pages() >= CHECKPOINT_PAGES) this.#checkpoint();
    this.#reserve.restore();
  }

  /** What is not finished is refused; everything else is in the database file, and the log is gone. */
  close(): readonly Answer[] {
    const abandoned = this.#stopLong(closed);
    this.spool.begin();
    this.spool.messages.eraseAdopting();
    this.#commitAll();
    this.#log.truncate();
    this.spool.db.close();
    return abandoned;
  }

  #answer(request: WorkRequest): readonly Answer[] {
    const operation = operations[request.op];
    const { serial } = request;
    // The table pairs each name with the function for it, which a union cannot say.
    const parameters = request as never;
    if (operation.kind === "long") {
      this.#long.push({ serial, steps: operation.run(this.spool, parameters, this.#ours) });
      return [];
    }
    const body = request.body ?? nothing;
    try {
      if (operation.kind === "read") return [{ serial, result: operation.run(this.spool, parameters, body) }];
    } catch (error) {
      return [this.#failedAlone(serial, error)];
    }
    const totals = this.spool.census.snapshot();
    this.#ensureTransaction();
    try {
      this.#savepoint.run();
      const result = operation.run(this.spool, parameters, body);
      this.#release.run();
      return [{ serial, result }];
    } catch (error) {
      const answer = this.#failedAlone(serial, error);
      this.#undo();
      this.spool.census.restore(totals);
      return [answer];
    }
  }

  #undo(): void {
    this.#rollbackTo.run();
    this.#release.run();
  }

  #continueLong(): readonly Answer[] {
    const work = this.#long[0];
    if (work === undefined) return [];
    this.#ensureTransaction();
    const totals = this.spool.census.snapshot();
    try {
      this.#savepoint.run();
      const step = work.steps.next();
      this.#release.run();
      if (step.done !== true) return [];
      this.#long.shift();
      return [{ serial: work.serial, result: step.value }];
    } catch (error) {
      const answer = this.#failedAlone(work.serial, error);
      this.#undo();
      this.spool.census.restore(totals);
      this.#long.shift();
      this.spool.messages.eraseAdopting();
      return [answer];
    }
  }

  /** The failure of one request; throws when it is everybody's. */
  #failedAlone(serial: number, error: unknown): Answer {
    this.#throwIfCommon(error);
    // SQLite has given the transaction up by itself (out of memory, for one).
    if (this.#inTransaction && !this.spool.db.isTransaction) throw new StorageFailed(describeError(error));
    return { serial, failure: { reason: "error", message: describeError(error) } };
  }

  /** A quota that is used up (EDQUOT) is an I/O error to SQLite; to those who wait it is a disk that is full. */
  #troubleOf(error: unknown): Trouble {
    return isRefusedWrite(error) && this.#reserve.isOutOfSpace() ? "full" : troubleOf(error);
  }

  #throwIfCommon(error: unknown): void {
    switch (this.#troubleOf(error)) {
      case "full":
        if (this.spool.db.isTransaction) this.spool.db.exec("ROLLBACK");
        this.#inTransaction = false;
        throw new NoSpace();
      case "damaged":
      case "storage":
      case "busy":
        throw new StorageFailed(describeError(error), { cause: error });
      case "other":
        return;
    }
  }

  #ensureTransaction(): void {
    if (this.#inTransaction) return;
    try {
      this.#begin.run();
    } catch (error) {
      this.#throwIfCommon(error);
      throw new StorageFailed(describeError(error), { cause: error });
    }
    this.#inTransaction = true;
  }

  #commitAll(): void {
    if (!this.#inTransaction) return;
    try {
      this.#commit.run();
    } catch (error) {
      this.#throwIfCommon(error);
      // Never again: after a failed sync the kernel may call the next one a success for data it has dropped.
      throw new StorageFailed(describeError(error), { cause: error });
    }
    this.#inTransaction = false;
    this.#log.committed();
  }

  /** What needs space is refused; what may free some is tried again without it. */
  #withoutSpace(group: readonly WorkRequest[]): readonly Answer[] {
    const needsSpace = ({ op }: WorkRequest): boolean => ["grow", "long"].includes(operations[op].kind);
    const refuse = (requests: readonly WorkRequest[]): Answer[] =>
      requests.map(({ serial }) => ({ serial, failure: noSpace }));
    const isNew = new Set(group.map(({ serial }) => serial));
    const abandoned = this.#stopLong(noSpace).filter(({ serial }) => !isNew.has(serial));
    this.#makeSpace();
    const refused = refuse(group.filter(needsSpace));
    const others = group.filter((request) => !needsSpace(request));
    const together = this.#tryWithinSpace(() => {
      if (abandoned.length > 0) {
        this.#ensureTransaction();
        this.spool.messages.eraseAdopting();
      }
      return others.flatMap((request) => this.#answer(request));
    });
    // One of them (a report that does not fit) is too much; the others shall not wait for it.
    const answers =
      together ?? others.flatMap((request) => this.#tryWithinSpace(() => this.#answer(request)) ?? refuse([request]));
    return [...abandoned, ...refused, ...answers];
  }

  /** In a transaction of its own; undefined when there is no space for it. */
  #tryWithinSpace(work: () => readonly Answer[]): readonly Answer[] | undefined {
    const totals = this.spool.census.snapshot();
    try {
      const answers = work();
      this.#commitAll();
      return answers;
    } catch (error) {
      if (!(error instanceof NoSpace)) {
        this.#throwIfCommon(error);
        throw error;
      }
      this.spool.census.restore(totals);
      return undefined;
    }
  }

  #stopLong(failure: RawFailure): readonly Answer[] {
    const works = this.#long;
    this.#long = [];
    for (const { steps } of works) steps.return(undefined);
    return works.map(({ serial }) => ({ serial, failure }));
  }

  /** Into the database file with the log: starting over in its place it needs no new space. */
  #makeSpace(): void {
    this.#reserve.giveUp();
    this.#checkpoint();
  }

  /** Without space it waits for better times: everything is safe in the log. */
  #checkpoint(): void {
    try {
      this.#log.checkpoint();
    } catch (error) {
      if (this.#troubleOf(error) !== "full") throw new StorageFailed(describeError(error), { cause: error });
    }
  }
}
