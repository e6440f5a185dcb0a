// The order of the files: the instruments first, for without them the others mean nothing.

import { rm } from 'node:fs/promises';
import { OUTPUT } from './harness.mjs';

const FILES = ['instruments', 'pair', 'mute', 'camera', 'members', 'host', 'share', 'server', 'relay', 'page', 'hub', 'demo', 'figures'];

/** @param {'quick' | 'slow'} set */
export async function runSet(set) {
  process.env.HUDDLED_BROWSER_SET = set;
  await rm(OUTPUT, { recursive: true, force: true });
  for (const file of FILES) await import(`./${file}.test.mjs`);
}
