/**
 * Room in memory: how much mail the scheduler holds, whose it is, and who may bring more.
 *
 * A sender may hold as much as is still free for the others: one who sends without end has half of the room, two a third each, and there is always
 * some for those who have nothing here yet. What finds no room waits on disk. Weights count messages, and recipients where there are many. Pure state.
 */
import { laneOf } from "../queue/sender-key.ts";

/** A message to a few people weighs one. */
export const weightOf = (recipients: number): number => 1 + Math.floor(recipients / 10);

export class Room {
  readonly #of = new Map<string, number>();
  readonly #inLane = new Map<number, number>();
  #total = 0;

  get total(): number {
    return this.#total;
  }

  of(sender: string): number {
    return this.#of.get(sender) ?? 0;
  }

  enter(sender: string, weight: number): void {
    this.#add(sender, weight);
  }

  leave(sender: string, weight: number): void {
    this.#add(sender, -weight);
  }

  /** Lanes of the queue that shall bring nothing more while there is no more than `limit`. */
  fullLanes(limit: number): readonly number[] {
    const free = limit - this.#total;
    return [...this.#inLane].flatMap(([lane, held]) => (held >= free ? [lane] : []));
  }

  #add(sender: string, weight: number): void {
    this.#total += weight;
    change(this.#of, sender, weight);
    change(this.#inLane, laneOf(sender), weight);
  }
}

function change<Key>(map: Map<Key, number>, key: Key, by: number): void {
  const next = (map.get(key) ?? 0) + by;
  if (next > 0) map.set(key, next);
  else map.delete(key);
}
