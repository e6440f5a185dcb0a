// Camera off: nobody is left with a frozen picture, no RTP of that track flows, and it is on again within 1 s.

import assert from 'node:assert/strict';
import { suite } from './harness.mjs';
import { streamStats, untilBoxSees } from './measure.mjs';
import { monotonic, observe, waitFor } from './wait.mjs';

const BLACK = 16;
const STILL = 1000;

suite('camera', (scenario) => {
  scenario('camera off leaves black and no packets, and a press brings it back within 1 s', async (lab) => {
    const box = await lab.box();
    const member = await lab.member('v2', { size: '320x180' });
    await member.untilPicture(box.user);
    const lit = (await member.read()).remotes[box.user].picture;
    assert.ok(lit.brightness > BLACK, `the test card is as dark as ${lit.brightness}`);

    const offAt = monotonic();
    await box.ask('camera', { off: true });
    await waitFor('the box is black', async () => (await member.read()).remotes[box.user].picture.brightness <= BLACK, {
      within: 3000,
      // Tells a black picture that never came from one that was decoded and not shown.
      state: async () => {
        const { framesDecoded, framesReceived, keyFramesDecoded } = await streamStats(member, box.user, 'in', 'video');
        const { frames, brightness, newest } = (await member.read()).remotes[box.user].picture;
        return { framesReceived, framesDecoded, keyFramesDecoded, shown: frames, brightness, newest };
      },
    });
    lab.figure('camera-off-black-within', monotonic() - offAt, 'ms');
    // The light follows once the state is on disk, so it may come after the confirmation.
    const { camera } = await box.until('camera off confirmed and shown', (status) => status.camera.confirmed === true && status.leds.camera === 'red steady');
    assert.equal(camera.off, true);
    await waitFor('the server knows isVideoOff', () => lab.gateway.received({ user: box.user, event: 'media:toggle-video' }).at(-1)?.payload.isVideoOff === true);

    // The last packets of the black keyframe may still be on their way.
    const before = await settledPackets(member, box.user);
    await observe(STILL);
    const after = (await streamStats(member, box.user, 'in', 'video')).packetsReceived;
    assert.equal(after, before, 'video packets while the camera is off');
    assert.ok((await member.read()).remotes[box.user].picture.brightness <= BLACK);

    const { counter } = (await member.read()).remotes[box.user].picture;
    const onAt = monotonic();
    await box.press('camera');
    const { remotes } = await member.until('the box is back', (state) => state.remotes[box.user].picture.newest?.shownAt > onAt, 3000);
    lab.figure('camera-on-first-picture', remotes[box.user].picture.newest.shownAt - onAt, 'ms', { most: 1000 });
    assert.notEqual(remotes[box.user].picture.counter, counter);
    await member.untilPicture(box.user);
    await box.until('camera on confirmed', (status) => status.camera.confirmed === false);
  });

  scenario('one who joins while the camera is off sees the box as soon as it is on, and hears it before', async (lab) => {
    const box = await lab.box();
    await box.untilJoined();
    await box.ask('camera', { off: true });
    const member = await lab.member('v2', { size: '320x180' });
    await member.untilTone(box.user, 440);
    await untilBoxSees(box, member.user);
    const { remotes } = await member.read();
    assert.equal(remotes[box.user].picture.newest, null, 'a picture of a camera that is off');
    const onAt = monotonic();
    await box.press('camera');
    const { remotes: seen } = await member.until('the box is seen', (state) => state.remotes[box.user].picture.newest, 3000);
    lab.figure('camera-on-first-picture-of-late-joiner', seen[box.user].picture.newest.shownAt - onAt, 'ms', { most: 1000 });
  });

  scenario('a browser without a camera is heard, and sees', async (lab) => {
    const box = await lab.box();
    const member = await lab.member('v2', { camera: 'none' });
    await member.untilPicture(box.user);
    await waitFor('660 Hz at the loudspeaker', async () => Math.abs((await box.heard()).frequency_hz - 660) < 15);
    assert.equal(await box.pictureBytes(member.user), null);
  });
});

// The count of video packets once it has not moved for 200 ms.
async function settledPackets(member, user) {
  let last = -1;
  let since = monotonic();
  return waitFor('no more video packets', async () => {
    const now = (await streamStats(member, user, 'in', 'video')).packetsReceived;
    if (now !== last) {
      last = now;
      since = monotonic();
    }
    // Longer than between two repetitions of the black keyframe.
    return monotonic() - since > 600 && now;
  }, { within: 3000, every: 50 });
}
