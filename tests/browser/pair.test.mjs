// A box and one browser, in every manner of browser and with both orders of ids: moving pictures and the right
// tone at both ends.

import assert from 'node:assert/strict';
import { suite } from './harness.mjs';
import { assertBothWays, streamStats, untilBoxHears } from './measure.mjs';
import { observe } from './wait.mjs';

const SMALL = { size: '320x180' };

// [what, manner, beginning of the browser's id (the box's is 8), options of the page]
const BROWSERS = [
  ['V2 with the greater id', 'v2', 'f', {}],
  ['V2 with the smaller id', 'v2', '0', {}],
  ['V2 with the greater id that processes offers twice', 'v2', 'f', { twice: 1 }],
  ['V2 with the smaller id that processes offers twice', 'v2', '0', { twice: 1 }],
  ['V2 speaking webrtc:* with the greater id', 'v2', 'f', { names: 'webrtc' }],
  ['V2 speaking webrtc:* with the smaller id', 'v2', '0', { names: 'webrtc' }],
  ['V1 with the greater id', 'v1', 'f', {}],
  ['V1 with the smaller id', 'v1', '0', {}],
  ['a well-behaved browser with the greater id', 'good', 'f', {}],
  ['a well-behaved browser with the smaller id', 'good', '0', {}],
];

suite('a box and a browser', (scenario) => {
  for (const [what, manner, id, options] of BROWSERS) {
    scenario(`${what} joins a box`, async (lab) => {
      const box = await lab.box();
      await box.untilJoined();
      const member = await lab.member(manner, { id, ...SMALL, ...options });
      await assertBothWays(box, member);
      await assertCodecs(member, box);
    });

    scenario(`a box joins ${what}`, async (lab) => {
      const member = await lab.member(manner, { id, ...SMALL, ...options });
      await member.untilJoined();
      const box = await lab.box();
      await assertBothWays(box, member);
    }, { slow: Object.keys(options).length > 0 || manner === 'good' });
  }

  scenario('a real camera’s picture of 1280x720 arrives at the box, and a meeting of a minute does not stall', async (lab) => {
    const box = await lab.box({ video: { width: 1280, height: 720, frame_rate: 30, bitrate: 1_500_000 } });
    const member = await lab.member('v2', { camera: 'fake', size: '1280x720', fps: 20 });
    await member.untilPicture(box.user);
    await untilBoxHears(box, 660);
    for (let spell = 0; spell < 12; spell += 1) {
      const before = await box.picture(member.user);
      const counter = (await member.read()).remotes[box.user].picture.counter;
      await observe(5000);
      await member.until('the picture goes on', ({ remotes }) => remotes[box.user].picture.counter > counter + 50, 1000);
      await member.untilTone(box.user, 440, 1000);
      const after = await box.picture(member.user);
      assert.ok(before.width >= 320 && after.width >= 320);
    }
    const { freezeCount, totalFreezesDuration } = await streamStats(member, box.user, 'in', 'video');
    lab.figure('freezes-in-a-minute', freezeCount, 'freezes');
    lab.figure('frozen-in-a-minute', totalFreezesDuration, 's');
  }, { slow: true });
});

// Browser defaults on its side: what runs is what the box offers or takes.
async function assertCodecs(member, box) {
  const received = await streamStats(member, box.user, 'in', 'video');
  const sent = await streamStats(member, box.user, 'out', 'video');
  const heard = await streamStats(member, box.user, 'in', 'audio');
  assert.equal(received.codec, 'video/H264');
  assert.match(received.codecParameters, /profile-level-id=42/);
  assert.match(received.codecParameters, /packetization-mode=1/);
  assert.ok(received.framesDecoded > 0);
  assert.equal(sent.codec, 'video/H264');
  assert.equal(heard.codec, 'audio/opus');
  assert.ok(heard.packetsReceived > 0);
}
