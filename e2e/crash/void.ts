/**
 * Void runs: one whose load was too small, or whose moments met nothing, proves nothing either way. It is done again, twice at most; the last one is the report, void or not.
 *
 * What a run has seen is no less true for that: `run` judges it every time, and throws. It is told which one it is, 1 to 3, so that it can leave a slow machine more time.
 */
export const VOID_BELOW_PER_SECOND = 100;

const MOST_RUNS = 3;

export async function untilNotVoid<T>(run: (number: number) => Promise<T>, isVoid: (report: T) => boolean): Promise<T> {
  for (let number = 1; ; number++) {
    const report = await run(number);
    if (number === MOST_RUNS || !isVoid(report)) return report;
    console.log("a void run, once more");
  }
}
