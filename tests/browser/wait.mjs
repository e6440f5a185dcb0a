// Waiting for conditions with a deadline, and the clock they are measured by.

/** CLOCK_MONOTONIC in milliseconds: what the box stamps with. */
export function monotonic() {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** CLOCK_MONOTONIC in milliseconds of a wall-clock time as Date.now() gives it. */
export function fromWall(wall) {
  return monotonic() - (performance.timeOrigin + performance.now() - wall);
}

/**
 * Polls until `condition` returns something truthy, and returns that. An error it throws counts as "not yet".
 * @template T
 * @param {string} what the condition in words, for the failure
 * @param {() => T | Promise<T>} condition
 * @param {{within?: number, every?: number, state?: () => unknown}} options milliseconds; `state` is shown on failure
 * @returns {Promise<T>}
 */
export async function waitFor(what, condition, { within = 10_000, every = 25, state } = {}) {
  const start = monotonic();
  let problem = null;
  for (;;) {
    try {
      const result = await condition();
      if (result) return result;
      problem = null;
    } catch (error) {
      if (error.fatal) throw error;
      problem = error;
    }
    if (monotonic() - start > within) break;
    await new Promise((resolve) => setTimeout(resolve, every));
  }
  const shown = state ? `; state: ${JSON.stringify(await Promise.resolve(state()).catch(String)).slice(0, 2000)}` : '';
  throw new Error(`not within ${within} ms: ${what}${problem ? ` (${problem.message})` : ''}${shown}`);
}

/**
 * Lets a span of time pass in which something must keep being so: for absence, which no condition can wait for.
 * @param {number} milliseconds
 */
export function observe(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** The middle value. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
