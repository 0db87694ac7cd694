/**
 * Ports: which port a listener has inside the pod, where no process may bind one below 1024.
 *
 * Stands in build/, used for the listeners of the rendered configuration, the pod's container ports, the Service's target ports and the NetworkPolicy.
 * Pure and collision-free: 25 → 2525, 465 → 2465, 587 → 2587, any other below 1024 → itself + 2000, from 1024 on unchanged; where that is taken (by the admin
 * port, or by a listener with a better claim) the next free one upwards. A listener that asks for a port of 1024 or more has the better claim, then the three
 * well-known ones, then the others, each in the order of the list.
 */

/** Metrics, health and the running configuration's hash; reachable by the operator and by Prometheus only. */
export const ADMIN_PORT = 9125;

const wellKnown: ReadonlyMap<number, number> = new Map([
  [25, 2525],
  [465, 2465],
  [587, 2587],
]);

const wanted = (port: number): number => wellKnown.get(port) ?? (port < 1024 ? port + 2000 : port);
const rank = (port: number): number => (port >= 1024 ? 0 : wellKnown.has(port) ? 1 : 2);

/** The container port of each listener's Service port, in the same order. */
export function containerPorts(ports: readonly number[]): number[] {
  const taken = new Set([ADMIN_PORT]);
  const assigned = ports.map(() => 0);
  const order = ports
    .map((port, index) => ({ port, index }))
    .sort((a, b) => rank(a.port) - rank(b.port) || a.index - b.index);
  for (const { port, index } of order) {
    let candidate = wanted(port);
    while (taken.has(candidate)) candidate = candidate === 65_535 ? 1024 : candidate + 1;
    taken.add(candidate);
    assigned[index] = candidate;
  }
  return assigned;
}
