// More than two: both dialects in one room, several boxes, and those who come late, come back or go.

import assert from 'node:assert/strict';
import { suite } from './harness.mjs';
import { assertBothWays, streamStats, untilBoxHears, untilBoxSees } from './measure.mjs';
import { fromWall, observe, waitFor } from './wait.mjs';

const SMALL = { size: '320x180', fps: 10 };
const LIGHT = { video: { width: 320, height: 180, frame_rate: 10, bitrate: 200_000 } };

suite('members', (scenario) => {
  scenario('three members: a box, a V2 and a V1 browser', async (lab) => {
    const box = await lab.box(LIGHT);
    const second = await lab.member('v2', { id: 'f', mic: 'tone:660', ...SMALL });
    const first = await lab.member('v1', { id: '0', mic: 'tone:990', ...SMALL });
    await Promise.all([second, first].flatMap((member) => [
      member.untilPicture(box.user),
      member.untilTone(box.user, 440),
      untilBoxSees(box, member.user),
    ]));
    // Both are in the mix: each is heard when the other is muted.
    await second.call('setMuted', true);
    await untilBoxHears(box, 990);
    await second.call('setMuted', false);
    await first.call('setMuted', true);
    await untilBoxHears(box, 660);
    await box.until('two connected peers', ({ connected_peers: count }) => count === 2);
  });

  scenario('browsers that offer a data channel too have sound and picture, and go on after a share', async (lab) => {
    const early = await lab.member('v2', { id: 'f', mic: 'tone:660', channel: '1', ...SMALL });
    await early.until('it has joined', ({ joined }) => joined);
    const box = await lab.box(LIGHT);
    const late = await lab.member('v2', { id: '0', mic: 'tone:990', channel: '1', ...SMALL });
    await Promise.all([early, late].flatMap((member) => [
      member.untilPicture(box.user),
      member.untilTone(box.user, 440),
      untilBoxSees(box, member.user),
    ]));
    // The browsers offer again for their share: the rejected section keeps its place.
    await early.call('share');
    await waitFor('the box receives the share', async () => (await box.health()).peers_in
      .some(({ user_id: user, screen }) => user === early.user && screen.decoded > 0));
    await Promise.all([early, late].map((member) => member.untilPicture(box.user)));
    const sections = lab.gateway.received({ user: box.user })
      .flatMap(({ payload }) => (payload.answer ?? payload.offer)?.sdp.match(/m=application \d+/g) ?? []);
    assert.ok(sections.length >= 2, `${sections.length} rejected sections`);
    assert.deepEqual([...new Set(sections)], ['m=application 0']);
  });

  scenario('a V2 browser that made the first offer can take the box’s offer of a new connection over its old one', async (lab) => {
    const member = await lab.member('v2', { id: 'f', ...SMALL });
    await member.until('it has joined', ({ joined }) => joined);
    const box = await lab.box(LIGHT);
    await member.untilPicture(box.user);
    const descriptions = (user, kind, target) => lab.gateway.received({ user })
      .filter(({ event, payload }) => event.endsWith(`:${kind}`) && payload.targetUserId === target);
    assert.ok(descriptions(box.user, 'answer', member.user).length > 0, 'it was the browser that had to begin');
    const other = await lab.member('v2', { id: '0', ...SMALL });
    await other.untilPicture(box.user);
    // What the box offers to somebody new is what it would offer here, had it given this connection up.
    const [{ payload: { offer } }] = descriptions(box.user, 'offer', other.user);
    await member.page.evaluate(([user, fresh]) => window.member.peers.get(user).pc.setRemoteDescription(fresh), [box.user, offer]);
  });

  scenario('two boxes and a browser', async (lab) => {
    const one = await lab.box({ id: '5', name: 'Box One', microphone: 'sim:tone:440', ...LIGHT });
    const two = await lab.box({ id: '9', name: 'Box Two', microphone: 'sim:tone:550', ...LIGHT });
    const member = await lab.member('v2', { id: '7', mic: 'none', ...SMALL });
    await Promise.all([
      member.untilPicture(one.user),
      member.untilPicture(two.user),
      member.untilTone(one.user, 440),
      member.untilTone(two.user, 550),
      untilBoxSees(one, two.user),
      untilBoxSees(two, one.user),
      untilBoxSees(one, member.user),
      untilBoxSees(two, member.user),
      untilBoxHears(one, 550),
      untilBoxHears(two, 440),
    ]);
  });

  for (const manner of ['v2', 'v1']) {
    for (const id of ['f', '0']) {
      const order = id === 'f' ? 'greater' : 'smaller';
      scenario(`a ${manner} browser with the ${order} id reloads its page`, async (lab) => {
        const box = await lab.box(LIGHT);
        const member = await lab.member(manner, { id, ...SMALL });
        await assertBothWays(box, member);
        await member.reload();
        await assertBothWays(box, member);
        assert.equal((await box.status()).peers.length, 1);
      }, { slow: manner === 'v1' || id === '0' });

      scenario(`a ${manner} browser with the ${order} id rebuilds its connection`, async (lab) => {
        const box = await lab.box(LIGHT);
        const member = await lab.member(manner, { id, ...SMALL });
        await assertBothWays(box, member);
        const { created } = (await member.read()).peers[box.user];
        await member.call('rebuild', box.user);
        await member.until('a newer connection is connected', ({ peers }) => peers[box.user]?.created > created && peers[box.user].connectionState === 'connected');
        await waitFor('pictures over the newer connection', async () => (await streamStats(member, box.user, 'in', 'video')).framesDecoded > 5);
        await assertBothWays(box, member);
      }, { slow: (manner === 'v2') === (id === 'f') });
    }
  }

  scenario('a V2 browser of the last version, whose recovery makes a burst of new connections', async (lab) => {
    const box = await lab.box(LIGHT);
    const member = await lab.member('v2', { recovery: 'late', ...SMALL });
    await assertBothWays(box, member);
    await member.call('rebuild', box.user);
    await member.until('its tracks were added twice', ({ errors }) => errors.some((error) => error.startsWith('rebuild:')));
    await observe(5000);
    await member.untilConnected(box.user);
    await assertBothWays(box, member);
  }, { slow: true });

  for (const manner of ['v2', 'v1']) {
    scenario(`a ${manner} browser shares a screen and stops: a third m-line, and camera and sound go on`, async (lab) => {
      const box = await lab.box(LIGHT);
      const member = await lab.member(manner, SMALL);
      await assertBothWays(box, member);
      await member.call('share');
      await waitFor('the screen is sent', async () => (await member.stats(box.user))['out-video-2']?.packetsSent > 10, { state: () => member.read() });
      await assertBothWays(box, member);
      assert.equal((await box.picture(member.user)).width, 320, 'the camera’s picture, not the screen’s');
      await member.call('unshare');
      await assertBothWays(box, member);
    }, { slow: true });
  }

  for (const id of ['f', '0']) {
    scenario(`a V2 browser with the ${id === 'f' ? 'greater' : 'smaller'} id whose camera starts long after it joined`, async (lab) => {
      const box = await lab.box(LIGHT);
      await box.untilJoined();
      const member = await lab.member('v2', { id, late: 1, ...SMALL });
      await member.untilJoined();
      // It throws away every offer in this time; the box must not have used up its attempts.
      await observe(4000);
      await member.call('startMedia');
      await assertBothWays(box, member);
    }, { slow: id === '0' });
  }

  scenario('a browser that applies others’ mutes to itself does not disturb the box', async (lab) => {
    const box = await lab.box(LIGHT);
    const member = await lab.member('v2', { foreign: 1, ...SMALL });
    await assertBothWays(box, member);
    await box.ask('mute');
    await member.until('it muted itself', ({ muted }) => muted);
    await observe(1000);
    const status = await box.status();
    assert.equal(status.microphone.forced, false);
    const reports = lab.gateway.received({ user: box.user, event: 'media:toggle-mic' }).filter(({ dropped }) => !dropped);
    assert.ok(reports.length <= 3, `an endless loop: the box reported its microphone ${reports.length} times`);
  }, { slow: true });

  scenario('a browser that leaves is gone from the box', async (lab) => {
    const box = await lab.box(LIGHT);
    const member = await lab.member('v2', SMALL);
    await assertBothWays(box, member);
    await member.close();
    await box.until('nobody else', ({ peers, connected_peers: count }) => peers.length === 0 && count === 0, 5000);
    assert.equal(await box.pictureBytes(member.user), null);
  });

  scenario('SIGTERM: the box leaves the meeting and ends within 2 s', async (lab) => {
    const box = await lab.box(LIGHT);
    const member = await lab.member('v2', SMALL);
    await assertBothWays(box, member);
    const { code, took, at } = await box.stop();
    lab.figure('sigterm-to-end', took, 'ms', { most: 2000 });
    assert.equal(code, 0);
    const left = lab.gateway.received({ user: box.user, event: 'meeting:leave' });
    assert.equal(left.length, 1);
    lab.figure('sigterm-to-leave', fromWall(left[0].at) - (at - took), 'ms', { most: 2000 });
    await member.until('the box is gone', ({ roster }) => !(box.user in roster));
  });
});
