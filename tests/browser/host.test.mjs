// A host's orders: mute and camera off are obeyed at once and shown as forced; a host opens nothing; a press in the
// room does, and ends it.

import assert from 'node:assert/strict';
import { suite } from './harness.mjs';
import { assertMuted, hearMute, steadySound } from './measure.mjs';
import { monotonic, observe, waitFor } from './wait.mjs';

const SMALL = { size: '320x180', fps: 10 };
const LIGHT = { video: { width: 320, height: 180, frame_rate: 10, bitrate: 200_000 } };

// A box in a meeting whose host is a V2 browser.
async function withHost(lab) {
  const box = await lab.box(LIGHT);
  const host = await lab.member('v2', { role: 'host', ...SMALL });
  await host.untilPicture(box.user);
  await host.untilTone(box.user, 440);
  return { box, host };
}

suite('host', (scenario) => {
  scenario('a host mutes, cannot unmute, and a press in the room ends it', async (lab) => {
    const { box, host } = await withHost(lab);
    await steadySound(host, box.user);
    const mutedAt = monotonic();
    await host.call('emit', 'admin:mute-user', { targetUserId: box.user, mute: true });
    assertMuted(await hearMute(host, box.user, mutedAt, 1000), mutedAt);
    await box.until('muted and forced', ({ microphone }) => microphone.confirmed === true && microphone.forced);

    const reports = () => lab.gateway.received({ user: box.user, event: 'media:toggle-mic' }).filter(({ dropped }) => !dropped);
    const before = reports().length;
    await host.call('emit', 'admin:mute-user', { targetUserId: box.user, mute: false });
    await waitFor('the true state is re-asserted', () => reports().length > before);
    await observe(1000);
    const said = reports().slice(before);
    assert.deepEqual(said.map(({ payload }) => payload.isMuted), [true], 'what the box said to the host’s unmute');
    const { microphone } = await box.status();
    assert.equal(microphone.confirmed, true);
    assert.equal(microphone.forced, false);
    assert.deepEqual((await host.soundSince(box.user, monotonic() - 500)).filter(([, peak]) => peak > 0), []);

    await box.press('mic');
    await host.untilTone(box.user, 440, 3000);
  });

  scenario('a host switches the camera off, cannot switch it on, and a press in the room ends it', async (lab) => {
    const { box, host } = await withHost(lab);
    await host.call('emit', 'admin:video-off-user', { targetUserId: box.user, videoOff: true });
    await host.until('the box is black', ({ remotes }) => remotes[box.user].picture.brightness <= 16, 3000);
    await box.until('off and forced', ({ camera }) => camera.confirmed === true && camera.forced);
    await host.call('emit', 'admin:video-off-user', { targetUserId: box.user, videoOff: false });
    await observe(1000);
    assert.equal((await box.status()).camera.confirmed, true);
    assert.ok((await host.read()).remotes[box.user].picture.brightness <= 16);
    await box.press('camera');
    await host.untilPicture(box.user, 3000);
  }, { slow: true });
});
