// Meetings that several files need.

import assert from 'node:assert/strict';
import { fromWall, monotonic, waitFor } from '../browser/wait.mjs';
import { isBox } from './recorder.mjs';

/** What the gateway takes for a join, ms (its default). */
const JOIN_DELAY = 30;

/** A box in a meeting with another box, a V2 and a V1 browser, seen by each and seeing each. */
export async function mixedMeeting(lab) {
  const [box, other] = await lab.boxesWith('8', 'c');
  const v2 = await lab.member('v2', { id: 'f' });
  const v1 = await lab.member('v1', { id: '0', beside: v2 });
  const others = [other, v2, v1];
  const recorder = lab.record([box, ...others]);
  await recorder.untilAllBack(others.map((each) => [box, each]), monotonic(), 40_000);
  return { box, others, recorder };
}

/** Every member sees every other one from now on. */
export async function everybodySees(recorder, pairs, within = 40_000) {
  const since = monotonic();
  await recorder.untilAllBack(pairs, since, within);
  return since;
}

/** What a box told the server of its microphone, camera and screen: [{at, event, payload}], CLOCK_MONOTONIC ms. */
export async function announced(lab, box) {
  const events = (await lab.gateway.received({ user: box.user })).filter(({ event }) => /^media:(toggle-mic|toggle-video|screen-share)$/.test(event));
  return events.map(({ at, event, payload, dropped }) => ({ at: fromWall(at), event, payload, dropped }));
}

/** When the newest join after `since` was confirmed to a user, CLOCK_MONOTONIC ms. */
async function joinedAt(lab, box, since) {
  const joins = (await lab.gateway.received({ user: box.user, event: 'meeting:join' })).map(({ at }) => fromWall(at)).filter((at) => at >= since);
  if (joins.length === 0) throw new Error(`no meeting:join of ${box.label} after the network came back`);
  return joins.at(-1) + JOIN_DELAY;
}

/**
 * After a rejoin the true state is at the server and at every other member within a second of `meeting:joined`.
 * @param {(Box | MemberPage)[]} others
 * @param {{muted: boolean, off: boolean}} state
 */
export async function assertTrueStateAfterJoin(lab, box, others, since, { muted, off }) {
  const told = await waitFor('microphone, camera and screen told after the join', async () => {
    const late = (await announced(lab, box)).filter(({ at, dropped }) => at >= since && !dropped);
    const find = (event) => late.find((each) => each.event === event);
    const all = ['media:toggle-mic', 'media:toggle-video', 'media:screen-share'].map(find);
    return all.every(Boolean) && all;
  }, { within: 10_000 });
  const joined = await joinedAt(lab, box, since);
  assert.equal(told[0].payload.isMuted, muted);
  assert.equal(told[1].payload.isVideoOff, off);
  lab.figure('state-told-after-joined', Math.max(...told.map(({ at }) => at)) - joined, 'ms', { most: 1000 });
  const knows = async (member) => {
    if (isBox(member)) {
      const peer = (await member.status()).peers.find(({ user_id: user }) => user === box.user);
      return peer?.muted === muted && peer.video_off === off;
    }
    const { roster } = await member.read();
    return roster[box.user]?.isMuted === muted && roster[box.user]?.isVideoOff === off;
  };
  // Each may have lost and forgotten the box meanwhile, and must know again by now.
  await waitFor('every member knows', async () => (await Promise.all(others.map(knows))).every(Boolean), { within: Math.max(500, joined + 1000 * lab.allowance - monotonic()), every: 20 });
}

/** Offers that went between two members in a span of time, ICE restarts and new connections alike. */
export async function offersBetween(lab, one, other, from, to = Infinity) {
  const events = await lab.gateway.received();
  const between = ({ user, payload }) => (user === one.user && payload?.targetUserId === other.user) || (user === other.user && payload?.targetUserId === one.user);
  return events.filter((each) => /:offer$/.test(each.event) && between(each) && fromWall(each.at) >= from && fromWall(each.at) <= to).length;
}
