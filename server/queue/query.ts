/** A prepared statement with the type of its rows: the one place where what SQLite returns is taken at its word. */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";

export class Query<Row = never> {
  readonly #statement: StatementSync;

  constructor(db: DatabaseSync, sql: string) {
    this.#statement = db.prepare(sql);
  }

  get(...values: SQLInputValue[]): Row | undefined {
    return this.#statement.get(...values) as Row | undefined;
  }

  all(...values: SQLInputValue[]): Row[] {
    return this.#statement.all(...values) as Row[];
  }

  iterate(...values: SQLInputValue[]): NodeJS.Iterator<Row> {
    return this.#statement.iterate(...values) as unknown as NodeJS.Iterator<Row>;
  }

  /** Rows changed. */
  run(...values: SQLInputValue[]): number {
    return Number(this.#statement.run(...values).changes);
  }

  /** The rowid given. */
  insert(...values: SQLInputValue[]): number {
    return Number(this.#statement.run(...values).lastInsertRowid);
  }
}
