// What an outage is, and what it did to each pair.

import assert from 'node:assert/strict';
import { observe } from '../browser/wait.mjs';
import { nameOf } from './recorder.mjs';

/** Ways to take a host off the network and to put it back. */
export const KINDS = {
  cable: { begin: (network, host) => network.cut(host), end: (network, host) => network.mend(host) },
  silent: { begin: (network, host) => network.silence(host), end: (network, host) => network.unsilence(host) },
  'silent-in': { begin: (network, host) => network.silence(host, { in: true }), end: (network, host) => network.unsilence(host) },
  'silent-out': { begin: (network, host) => network.silence(host, { out: true }), end: (network, host) => network.unsilence(host) },
  interface: { begin: (network, host) => network.unplug(host), end: (network, host) => network.plug(host) },
};

/** How long what is under way may still take to be decoded and shown. */
const IN_FLIGHT = 1000;

/** The demands of issue 4 on an outage of so many seconds, ms. */
export function limits(seconds) {
  return seconds <= 10 ? { most: 5000, goal: seconds <= 5 ? 800 : undefined } : { most: 8000, goal: 2000 };
}

/**
 * Takes `box` off the network for some seconds and waits until it and every one of `others` see each other again.
 * @returns {Promise<{downAt: number, upAt: number, rows: object[]}>} one row for each of the others; times in ms, Infinity for never
 */
export async function outage(lab, recorder, box, others, kind, seconds, patience = 20_000) {
  const downAt = await KINDS[kind].begin(lab.network, box.host);
  await observe(seconds * 1000);
  const upAt = await KINDS[kind].end(lab.network, box.host);
  await Promise.allSettled([recorder.untilAllBack(others.map((other) => [box, other]), upAt, patience)]);
  // An attempt that was made is over by now, and those that are not needed have been made as well.
  await observe(500);
  const rows = others.map((other) => {
    const way = (receiver, sender) => {
      const backAt = recorder.backAt(receiver, sender, upAt) ?? Infinity;
      const last = recorder.times(receiver, sender).filter((at) => at < upAt).at(-1) ?? -Infinity;
      return { back: backAt - upAt, gap: backAt - last, leaked: recorder.arrived(receiver, sender, downAt + IN_FLIGHT, upAt) };
    };
    return { pair: `${nameOf(box)}-${nameOf(other)}`, other, toBox: way(box, other), toOther: way(other, box), ...recorder.effort(box, other, downAt) };
  });
  return { downAt, upAt, rows };
}

/** Prints a pair's figures, and demands what is to be demanded. */
export function judge(lab, name, rows, seconds, { stops = true } = {}) {
  const { most, goal } = limits(seconds);
  for (const { pair, toBox, toOther, attempts, connections } of rows) {
    lab.figure(`${name}-${pair}-attempts`, attempts, 'attempts');
    lab.figure(`${name}-${pair}-new-connections`, connections, 'connections');
    for (const [direction, { back, gap, leaked }] of [['in', toBox], ['out', toOther]]) {
      if (stops) assert.equal(leaked, 0, `${pair}: ${leaked} pictures arrived while the network was away: the outage was none`);
      lab.figure(`${name}-${pair}-gap-${direction}`, gap, 'ms');
      lab.figure(`${name}-${pair}-back-${direction}`, back, 'ms', { most, goal });
    }
  }
}
