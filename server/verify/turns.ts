/**
 * Turns: how many of one kind may work at once, and how many more may wait for it, in the order they came.
 *
 * Used by the probes, one kind a destination. Promises that a place is handed on whatever the work does; how long work takes is its own to bound.
 */
export class Turns {
  readonly #atOnce: number;
  readonly #mostWaiting: number;
  readonly #busy = new Map<string, { count: number; readonly waiting: (() => void)[] }>();

  constructor(atOnce: number, mostWaiting: number) {
    this.#atOnce = atOnce;
    this.#mostWaiting = mostWaiting;
  }

  /** Undefined: too many wait already. */
  async take<T>(key: string, work: () => Promise<T>): Promise<T | undefined> {
    let line = this.#busy.get(key);
    if (line === undefined) {
      line = { count: 0, waiting: [] };
      this.#busy.set(key, line);
    }
    const { waiting } = line;
    if (line.count >= this.#atOnce && waiting.length >= this.#mostWaiting) return undefined;
    // Whoever leaves hands the place on, so that nobody slips in between.
    if (line.count >= this.#atOnce) await new Promise<void>((resolve) => waiting.push(resolve));
    else line.count += 1;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next !== undefined) next();
      else {
        line.count -= 1;
        if (line.count === 0) this.#busy.delete(key);
      }
    }
  }
}
