/**
 * Void runs: one whose load was too small, or whose moments met nothing, proves nothing either way. It is done again, twice at most; the last one is the report, void or not.
 *
 * What a run has seen is no less true for that: `run` judges it every time, and throws.
 */
export const VOID_BELOW_PER_SECOND = 100;

export async function untilNotVoid<T>(run: () => Promise<T>, isVoid: (report: T) => boolean): Promise<T> {
  for (let left = 2; ; left--) {
    const report = await run();
    if (left === 0 || !isVoid(report)) return report;
    console.log("a void run, once more");
  }
}
