// What the daemon does not meet yet, and why. These scenarios run and print their figures but fail nothing; whoever mends the
// daemon strikes the entry off. A scenario that passes while it is listed says so.

/** @type {Map<string, string>} title of the scenario, reason */
export const PENDING = new Map([]);
