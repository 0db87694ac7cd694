/** The parts of an open queue database, wired. Worker thread. */
import type { DatabaseSync } from "node:sqlite";
import { Messages } from "./messages.ts";
import { Census } from "./totals.ts";
import { Scan } from "./scan.ts";
import { Transitions } from "./transitions.ts";
import { Views } from "./views.ts";

export class Spool {
  readonly db: DatabaseSync;
  readonly census: Census;
  readonly messages: Messages;
  readonly views: Views;
  readonly transitions: Transitions;
  readonly scan: Scan;
  /** Called before a request that usually only reads writes after all. */
  readonly begin: () => void;

  constructor(db: DatabaseSync, maxFutureMs: number, begin: () => void = () => undefined) {
    this.db = db;
    this.begin = begin;
    this.census = new Census(db);
    this.messages = new Messages(db, this.census);
    this.views = new Views(db);
    this.transitions = new Transitions(db, this, maxFutureMs);
    this.scan = new Scan(db, this.views);
  }
}
