/**
 * Who is next: a round over the senders, and for each sender a round over its destinations.
 *
 * Holds the jobs of `scheduler.ts` that wait for their turn. A sender with a hundred thousand jobs and one with a single job stand in the same round, so
 * the second waits for one turn; a destination that takes no more now is set aside (parked) until somebody wakes it, and its senders are then let in
 * in the order in which they were set aside. Every step costs the same whatever the number of jobs. Pure state, no I/O.
 */

/** Who stands in the way of a start: the destination takes no more; the sender has its share of it; the sender has its share of everything. */
export type Answer = "yes" | "destination" | "share" | "sender";

export interface Waiting<Place, Job> {
  readonly sender: string;
  readonly place: Place;
  readonly job: Job;
}

interface Line<Place, Job> {
  readonly sender: string;
  readonly jobs: Map<Place, Job[]>;
  /** Destinations that may take a job of this sender, in the order of their turn. */
  readonly ready: Set<Place>;
  size: number;
}

interface At<Place, Job> {
  readonly lines: Set<Line<Place, Job>>;
  /** Senders that wait until the destination takes more. */
  readonly parked: Set<Line<Place, Job>>;
  size: number;
}

export class Rounds<Place, Job> {
  readonly #lines = new Map<string, Line<Place, Job>>();
  readonly #places = new Map<Place, At<Place, Job>>();
  readonly #turn = new Set<Line<Place, Job>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  sizeAt(place: Place): number {
    return this.#places.get(place)?.size ?? 0;
  }

  sizeOf(sender: string): number {
    return this.#lines.get(sender)?.size ?? 0;
  }

  add(sender: string, place: Place, job: Job): void {
    let line = this.#lines.get(sender);
    if (line === undefined) {
      line = { sender, jobs: new Map(), ready: new Set(), size: 0 };
      this.#lines.set(sender, line);
    }
    let at = this.#places.get(place);
    if (at === undefined) {
      at = { lines: new Set(), parked: new Set(), size: 0 };
      this.#places.set(place, at);
    }
    const jobs = line.jobs.get(place);
    if (jobs === undefined) line.jobs.set(place, [job]);
    else jobs.push(job);
    at.lines.add(line);
    for (const counted of [line, at]) counted.size += 1;
    this.#size += 1;
    if (at.parked.has(line)) return;
    line.ready.add(place);
    this.#turn.add(line);
  }

  /** The job whose turn it is among those that may start; undefined when none may. */
  next(may: (sender: string, place: Place) => Answer): Waiting<Place, Job> | undefined {
    for (const line of this.#turn) {
      for (const place of line.ready) {
        const answer = may(line.sender, place);
        // Out of the round until its share allows more: `wakeSender`.
        if (answer === "sender") {
          this.#turn.delete(line);
          break;
        }
        line.ready.delete(place);
        if (answer !== "yes") {
          // What one sender may not have is for the next who waits for it.
          if (answer === "share") this.wake(place, 1);
          this.#places.get(place)?.parked.add(line);
          continue;
        }
        const job = line.jobs.get(place)?.shift();
        if (job === undefined) continue;
        this.#forget(line, place, 1);
        // Behind the sender's other destinations, and behind all other senders.
        if (line.jobs.has(place)) line.ready.add(place);
        this.#turn.delete(line);
        if (line.ready.size > 0) this.#turn.add(line);
        return { sender: line.sender, place, job };
      }
      if (line.ready.size === 0) this.#turn.delete(line);
    }
    return undefined;
  }

  /** The destination takes more: as many of those who wait for it stand in the round again. */
  wake(place: Place, senders = Number.POSITIVE_INFINITY): void {
    const at = this.#places.get(place);
    if (at === undefined) return;
    let left = senders;
    for (const line of at.parked) {
      if (left <= 0) return;
      left -= 1;
      this.#unpark(at, line, place);
    }
  }

  wakeSender(sender: string): void {
    const line = this.#lines.get(sender);
    if (line !== undefined && line.ready.size > 0) this.#turn.add(line);
  }

  /** One sender whom the destination's limits do not concern. */
  wakeAt(place: Place, sender: string): void {
    const at = this.#places.get(place);
    const line = this.#lines.get(sender);
    if (at !== undefined && line !== undefined && at.parked.has(line)) this.#unpark(at, line, place);
  }

  wakeAll(): void {
    for (const place of this.#places.keys()) this.wake(place);
    for (const line of this.#lines.values()) if (line.ready.size > 0) this.#turn.add(line);
  }

  /** One of those that wait for a destination. */
  oneAt(place: Place): Job | undefined {
    const [line] = this.#places.get(place)?.lines ?? [];
    return line?.jobs.get(place)?.[0];
  }

  /** Everything that waits for a destination. */
  takeAll(place: Place): Job[] {
    const at = this.#places.get(place);
    if (at === undefined) return [];
    return [...at.lines].flatMap((line) => {
      const jobs = line.jobs.get(place)?.splice(0) ?? [];
      this.#forget(line, place, jobs.length);
      return jobs;
    });
  }

  /** The sender with the most jobs waiting. */
  heaviest(): { readonly sender: string; readonly jobs: number } | undefined {
    let most: Line<Place, Job> | undefined;
    for (const line of this.#lines.values()) if (most === undefined || line.size > most.size) most = line;
    return most === undefined ? undefined : { sender: most.sender, jobs: most.size };
  }

  /** The sender's newest jobs, from where it has the most waiting. */
  takeNewest(sender: string, count: number): Job[] {
    const line = this.#lines.get(sender);
    if (line === undefined) return [];
    const taken: Job[] = [];
    const longestFirst = [...line.jobs].sort(([, a], [, b]) => b.length - a.length);
    for (const [place, jobs] of longestFirst) {
      if (taken.length >= count) break;
      const some = jobs.splice(Math.max(0, jobs.length - (count - taken.length)));
      this.#forget(line, place, some.length);
      taken.push(...some);
    }
    return taken;
  }

  #unpark(at: At<Place, Job>, line: Line<Place, Job>, place: Place): void {
    at.parked.delete(line);
    line.ready.add(place);
    this.#turn.add(line);
  }

  #forget(line: Line<Place, Job>, place: Place, count: number): void {
    this.#size -= count;
    line.size -= count;
    const at = this.#places.get(place);
    if (at !== undefined) at.size -= count;
    if (line.jobs.get(place)?.length === 0) {
      line.jobs.delete(place);
      line.ready.delete(place);
      at?.lines.delete(line);
      at?.parked.delete(line);
      if (at?.lines.size === 0) this.#places.delete(place);
    }
    if (line.size === 0) {
      this.#lines.delete(line.sender);
      this.#turn.delete(line);
    }
  }
}
