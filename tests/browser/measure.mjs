// What is concluded from what a page heard and saw.

import assert from 'node:assert/strict';
import { median, monotonic, waitFor } from './wait.mjs';

/** Peaks at or below this are sound that has gone: a millionth part is far below one step of 16 bits. */
const DIGITAL_SILENCE = 1e-6;
/** Length of one window of the page's probe, ms. */
const WINDOW = 10;
/** How many quiet windows in a row are taken for the mute. */
const QUIET_WINDOWS = 3;
/** The box promises digital silence from this long after the last sound on, ms (interfaces.md, mute, rule 5). */
const TAIL = 40;

/** Waits until a page has heard `user` without a gap for 600 ms. */
export function steadySound(member, user) {
  return waitFor(`600 ms of sound from ${user}`, async () => {
    const windows = await member.soundSince(user, monotonic() - 1500);
    return windows.length > 60 && windows.slice(-60).every(([, peak]) => peak > 0.02);
  }, { every: 50 });
}

/**
 * Waits until a page has heard silence from `user` for `milliseconds` without a break, and says how it came about.
 * @returns {Promise<{fellAt: number, before: number, loudestAfter: number, loudWindows: number, silentFor: number}>}
 *   fellAt: first window under half the level before, CLOCK_MONOTONIC ms; loudestAfter: highest peak from 40 ms after it on
 */
export async function hearMute(member, user, mutedAt, milliseconds = 2000) {
  const windows = await waitFor(`${milliseconds} ms of sound after the mute`, async () => {
    const all = await member.soundSince(user, mutedAt - 500);
    return all.length > 0 && all.at(-1)[0] > mutedAt + 500 + milliseconds && all;
  }, { within: milliseconds + 5000, every: 100 });
  const before = median(windows.filter(([time]) => time < mutedAt).map(([, peak]) => peak));
  // A single quiet window is a dip of speech or of concealment, not the mute.
  const quiet = (index) => windows.slice(index, index + QUIET_WINDOWS).every(([, peak]) => peak < before / 2);
  const fall = windows.find(([time], index) => time >= mutedAt && quiet(index));
  if (!fall) return { fellAt: Infinity, before, loudestAfter: before, loudWindows: windows.length, silentFor: 0 };
  const [fellAt] = fall;
  const after = windows.filter(([time]) => time >= fellAt + TAIL + WINDOW);
  const loud = after.filter(([, peak]) => peak > DIGITAL_SILENCE);
  return {
    fellAt,
    before,
    loudestAfter: Math.max(...after.map(([, peak]) => peak)),
    loudWindows: loud.length,
    silentFor: windows.at(-1)[0] - fellAt,
    tail: windows.filter(([time]) => time >= fellAt - 2 * WINDOW && time < fellAt + TAIL + 2 * WINDOW).map(([, peak]) => Number(peak.toPrecision(2))),
  };
}

/** Asserts that a mute asked for at `mutedAt` was heard as digital silence, soon and lastingly. */
export function assertMuted({ fellAt, before, loudestAfter, loudWindows, tail }, mutedAt) {
  assert.ok(before > 0.02, `there was no sound to mute: peaks of ${before}`);
  assert.ok(fellAt - mutedAt < 1000, `still heard ${(fellAt - mutedAt).toFixed(0)} ms after the mute`);
  assert.equal(loudWindows, 0, `not digitally silent: ${loudWindows} windows up to ${loudestAfter}; around the mute ${tail}`);
}

/** A latency from onsets that belong to whole seconds: the part beyond the last second, ms. */
export function latencyOfOnset(onset) {
  return ((onset % 1000) + 1000) % 1000;
}

/** Collects the onsets a page hears from `user` until there are `count` later than now; median latency in ms. */
export async function soundLatency(member, user, count = 4) {
  const since = monotonic();
  const onsets = await waitFor(`${count} phrases of ${user}`, async () => {
    const { remotes } = await member.read();
    const late = remotes[user]?.sound?.onsets.filter((onset) => onset > since) ?? [];
    return late.length >= count && late;
  }, { within: count * 1000 + 8000, every: 100, state: () => member.read() });
  return median(onsets.map(latencyOfOnset));
}

/** Median age in ms of the pictures of `user` that a page shows from now on. */
export async function pictureLatency(member, user, count = 30) {
  const since = monotonic();
  const readings = await waitFor(`${count} pictures of ${user}`, async () => {
    const late = (await member.readings(user)).filter(({ shownAt }) => shownAt > since);
    return late.length >= count && late;
  }, { within: 15_000, every: 100, state: () => member.read() });
  return median(readings.map(({ latency }) => latency));
}

/** Waits until the box holds a picture of `user` with a test card whose counter goes on; returns the last. */
export async function untilBoxSees(box, user, within = 15_000) {
  const first = await waitFor(`${box.options.name}: a test card of ${user}`, async () => (await box.picture(user))?.strip, { within, state: () => box.status() });
  return waitFor(`${box.options.name}: the counter of ${user} beyond ${first.counter}`, async () => {
    const { strip } = (await box.picture(user)) ?? {};
    return strip && strip.counter > first.counter + 3 && strip;
  }, { within, state: () => box.status() });
}

/** Waits until the strongest frequency at the box's loudspeaker is `frequency`. */
export function untilBoxHears(box, frequency, within = 15_000) {
  return waitFor(`${box.options.name}: ${frequency} Hz at the loudspeaker`, async () => {
    const heard = await box.heard();
    return Math.abs(heard.frequency_hz - frequency) < 15 && heard.level_dbfs > -40 && heard;
  }, { within, state: () => box.health() });
}

/** Box and page see and hear each other: moving pictures, and the right tone at both ends. */
export async function assertBothWays(box, member, { boxTone = 440, memberTone = 660, within = 15_000 } = {}) {
  await Promise.all([
    member.untilPicture(box.user, within),
    memberTone && untilBoxHears(box, memberTone, within),
    boxTone && member.untilTone(box.user, boxTone, within),
    untilBoxSees(box, member.user, within),
  ]);
}

/** The one entry of a page's statistics for a direction and kind. */
export async function streamStats(member, user, direction, kind) {
  const stats = await member.stats(user);
  const found = Object.entries(stats ?? {}).filter(([key]) => key.startsWith(`${direction}-${kind}-`)).map(([, each]) => each);
  return found.find((each) => (each.packetsReceived ?? each.packetsSent) > 0) ?? found[0];
}
