// The order of the files: the instruments first, for without them the others mean nothing.

import { rm } from 'node:fs/promises';
import { OUTPUT } from './harness.mjs';

const SETS = {
  quick: ['seeds'],
  slow: ['instruments', 'outages', 'loss', 'signaling', 'crowd', 'malformed', 'addresses', 'relays', 'guest', 'hostile', 'strangers'],
};

/** @param {'quick' | 'slow'} set */
export async function runSet(set) {
  await rm(OUTPUT, { recursive: true, force: true });
  for (const file of SETS[set]) await import(`./${file}.test.mjs`);
}
