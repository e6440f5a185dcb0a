// The five tests the seeds ask for, by their names and in their steps, with the box as the user whose network goes.

import assert from 'node:assert/strict';
import { monotonic, observe, waitFor } from '../browser/wait.mjs';
import { untilBoxHears } from '../browser/measure.mjs';
import { inTurn, pairsOf, suite } from './harness.mjs';
import { announced, assertTrueStateAfterJoin, everybodySees } from './meeting.mjs';
import { judge, outage } from './outage.mjs';

/** The longest the box may take to show that a peer or the server is gone: the suspicion, and the look at it. */
const SHOWN_WITHIN = 6000;

const badgeOf = ({ peers }, user) => peers.find((peer) => peer.user_id === user)?.badge ?? null;

suite('seeds', (scenario) => {
  scenario('Test 1: Connection State', async (lab) => {
    // 1. Start meeting with 2 users.
    const [a, b] = await lab.boxesWith('1', '2');
    const recorder = lab.record([a, b]);
    await everybodySees(recorder, [[a, b]]);
    // 2. Check connection state shows "connected".
    for (const [box, peer] of [[a, b], [b, a]]) {
      const status = await box.untilConnected(peer.user);
      assert.equal(badgeOf(status, peer.user), null);
      assert.equal(status.connected_peers, 1);
    }
    // 3. Disconnect one user's network.
    const downAt = await lab.network.cut(b.host);
    // 4. Check state shows "disconnected", and the tile "Reconnecting"; the other knows that it has lost the server.
    await a.until('the tile of B says Reconnecting', (status) => badgeOf(status, b.user) === 'Reconnecting', SHOWN_WITHIN);
    lab.figure('seed1-reconnecting-shown-after', monotonic() - downAt, 'ms');
    const { previous_connection_state: previous } = (await a.until('the state of B is disconnected', ({ peers }) => peers[0]?.connection_state === 'disconnected', SHOWN_WITHIN)).peers[0];
    assert.equal(previous, 'connected');
    await b.until('B shows the tile of A as Reconnecting', (status) => badgeOf(status, a.user) === 'Reconnecting' && status.banner !== null, SHOWN_WITHIN);
    // 5. Reconnect network. 6. Check badge disappears, shows "connected".
    const upAt = await lab.network.mend(b.host);
    await recorder.untilAllBack([[a, b]], upAt, 15_000);
    for (const [box, peer] of [[a, b], [b, a]]) {
      await box.until('connected without a badge', (status) => badgeOf(status, peer.user) === null && status.peers[0].connection_state === 'connected' && status.banner === null, 10_000);
    }
    lab.figure('seed1-all-shown-well-after', monotonic() - upAt, 'ms', { most: 10_000 });
  });

  scenario('Test 2: Auto-Reconnection', async (lab) => {
    const box = await lab.box();
    const member = await lab.member('v2');
    const recorder = lab.record([box, member]);
    await everybodySees(recorder, [[box, member]]);
    // Disable network for 10 seconds: a banner says so. Enable: back within 5 seconds, by itself, picture and sound.
    const { upAt, rows } = await outage(lab, recorder, box, [member], 'cable', 10);
    assert.ok(recorder.states.get(box.user).some(({ at, banner }) => at < upAt && /Reconnecting/.test(banner ?? '')), 'no banner said Reconnecting');
    judge(lab, 'seed2', rows, 10);
    await Promise.all([member.untilTone(box.user, 440, 5000), untilBoxHears(box, 660, 5000)]);
    await box.until('no banner any more', ({ banner, signaling }) => banner === null && signaling.state === 'joined', 10_000);
  });

  scenario('Test 3: Media State Sync', async (lab) => {
    const [box, other] = await lab.boxesWith('8', '2');
    const member = await lab.member('v2');
    const recorder = lab.record([box, other, member]);
    await everybodySees(recorder, [[box, member], [box, other]]);
    // 1. Mute mic. 2. Turn off camera.
    await box.ask('mute');
    await box.ask('camera', { off: true });
    await box.until('muted and camera off', ({ microphone, camera }) => microphone.confirmed && camera.confirmed);
    await member.until('the page knows', ({ roster }) => roster[box.user]?.isMuted && roster[box.user]?.isVideoOff);
    // 3. Disconnect and reconnect.
    await lab.network.cut(box.host);
    await box.until('server lost', ({ signaling }) => signaling.state !== 'joined', 20_000);
    const upAt = await lab.network.mend(box.host);
    await box.untilJoined(20_000);
    // 4. Mic still muted. 5. Camera still off. 6. Other users see correct state.
    await assertTrueStateAfterJoin(lab, box, [other, member], upAt, { muted: true, off: true });
    const { microphone, camera } = await box.status();
    assert.deepEqual([microphone.muted, microphone.confirmed, camera.off, camera.confirmed], [true, true, true, true]);
    await recorder.untilBack(box, member, upAt, 15_000);
    await recorder.untilBack(box, other, upAt, 15_000);
    const opened = (await announced(lab, box)).filter(({ at, payload }) => at > upAt && (payload.isMuted === false || payload.isVideoOff === false));
    assert.deepEqual(opened, [], 'announced open while it was not');
  });

  scenario('Test 4: Screen Share After Reconnect', async (lab) => {
    const box = await lab.box({ extra: '[screen]\ndevice = "sim:slides"\n' });
    const member = await lab.member('v2');
    const recorder = lab.record([box, member]);
    await everybodySees(recorder, [[box, member]]);
    // 1. Start screen share.
    await box.press('share');
    const frames = async () => (await member.read()).screens[box.user]?.picture.frames ?? 0;
    await waitFor('the screen of the box', frames);
    // 2. Disconnect network. 3. Reconnect. 4. Screen share still works. 5. Camera still visible.
    const { rows } = await outage(lab, recorder, box, [member], 'cable', 5);
    judge(lab, 'seed4', rows, 5);
    const before = await frames();
    await waitFor('the screen of the box goes on', async () => (await frames()) > before + 2, { within: 5000 });
    assert.equal((await box.status()).screen.sharing, true);
  });

  scenario('Test 4, the share being a browser’s', async (lab) => {
    const box = await lab.box();
    const member = await lab.member('v1');
    const recorder = lab.record([box, member]);
    await everybodySees(recorder, [[box, member]]);
    await member.call('share');
    const sent = async () => (await member.stats(box.user))?.['out-video-2']?.packetsSent ?? 0;
    await waitFor('the screen is sent', async () => (await sent()) > 10);
    const { rows } = await outage(lab, recorder, box, [member], 'cable', 5);
    judge(lab, 'seed4-browser', rows, 5);
    const before = await sent();
    await waitFor('the screen goes on', async () => Math.abs((await sent()) - before) > 10, { within: 5000 });
  });

  scenario('Test 5: Multiple Reconnects', async (lab) => {
    // 1. Start with 3 users.
    const boxes = await lab.boxesWith('1', '2', '3');
    const recorder = lab.record(boxes);
    await everybodySees(recorder, pairsOf(boxes));
    // 2. Disconnect all networks. 3. All show "Reconnecting...".
    await Promise.all(boxes.map(({ host }) => lab.network.cut(host)));
    await Promise.all(boxes.map((box) => box.until('Reconnecting is shown', ({ banner }) => /Reconnecting/.test(banner ?? ''), SHOWN_WITHIN * 2)));
    // 4. Reconnect one by one. 5. Each reconnects successfully. 6. All video/audio works.
    const upAt = new Map();
    await inTurn(boxes, async (box) => {
      await observe(1500);
      upAt.set(box, await lab.network.mend(box.host));
    });
    await inTurn(pairsOf(boxes), async ([one, other]) => {
      const since = Math.max(upAt.get(one), upAt.get(other));
      for (const [receiver, sender] of [[one, other], [other, one]]) {
        const backAt = await recorder.untilBack(receiver, sender, since, 20_000);
        lab.figure(`seed5-${receiver.label}-sees-${sender.label}-after`, backAt - since, 'ms', { most: 5000 });
      }
    });
    for (const box of boxes) {
      await box.until('everybody connected, no banner', ({ banner, connected_peers: connected, signaling }) => banner === null && connected === 2 && signaling.state === 'joined', 10_000);
      await untilBoxHears(box, 440, 5000);
    }
  });
});
