// The instruments themselves, without a box: the application's browsers among each other. If these fail, what the
// other files say about the box means nothing.

import assert from 'node:assert/strict';
import { suite } from './harness.mjs';
import { assertMuted, hearMute, pictureLatency, soundLatency, steadySound } from './measure.mjs';
import { readPicture } from './png.mjs';
import { monotonic } from './wait.mjs';

suite('instruments', (scenario) => {
  for (const manner of ['v1', 'v2', 'good']) {
    scenario(`two ${manner} browsers see and hear each other`, async (lab) => {
      // V2 throws offers away until its camera runs, and only the greater id offers, once: so the smaller id first.
      const two = await lab.member(manner, { id: '0', mic: 'tone:440', size: '320x180' });
      await two.until('its camera runs', () => two.page.evaluate(() => Boolean(window.member.stream)));
      const one = await lab.member(manner, { id: 'f', mic: 'tone:660', size: '320x180' });
      await Promise.all([
        one.untilPicture(two.user),
        two.untilPicture(one.user),
        one.untilTone(two.user, 440),
        two.untilTone(one.user, 660),
      ]);
    });
  }

  scenario('latencies of a browser are told by the clock that the box stamps with', async (lab) => {
    const speaker = await lab.member('good', { id: 'f', mic: 'speech:660', size: '320x180' });
    const listener = await lab.member('good', { id: '0', size: '320x180' });
    await listener.untilPicture(speaker.user);
    const [picture, sound] = await Promise.all([pictureLatency(listener, speaker.user), soundLatency(listener, speaker.user)]);
    assert.ok(speaker.clockUncertainty < 20 && listener.clockUncertainty < 20);
    const { state, outputLatency, tapDelay } = await listener.call('audioState');
    assert.equal(state, 'running');
    lab.figure('browser-loudspeaker-delay', outputLatency * 1000, 'ms');
    lab.figure('browser-probe-delay', tapDelay * 1000, 'ms');
    assert.ok(tapDelay > 0 && tapDelay < 0.2, `the probe is said to lag by ${tapDelay} s`);
    lab.figure('browser-to-browser-glass-to-glass', picture, 'ms');
    lab.figure('browser-to-browser-mouth-to-ear', sound, 'ms');
    assert.ok(picture > 0 && picture < 1000, `a picture cannot be ${picture} ms old`);
  });

  for (const drop of [0, 3]) {
    scenario(`a muted browser is silent, one that only whispers is not, losing ${drop ? `every ${drop}rd packet` : 'nothing'}`, async (lab) => {
      const speaker = await lab.member('good', { id: 'f', mic: 'tone:660', size: '320x180' });
      const listener = await lab.member('good', { id: '0', size: '320x180', drop });
      await listener.untilTone(speaker.user, 660);
      await steadySound(listener, speaker.user);
      const whisperedAt = monotonic();
      await speaker.page.evaluate(() => { window.member.microphone.gain.gain.value = 0.001; });
      const whisper = await hearMute(listener, speaker.user, whisperedAt, 1000);
      assert.throws(() => assertMuted(whisper, whisperedAt), /not digitally silent/);
      await speaker.page.evaluate(() => { window.member.microphone.gain.gain.value = 0.5; });
      await steadySound(listener, speaker.user);
      const mutedAt = monotonic();
      await speaker.call('setMuted', true);
      const heard = await hearMute(listener, speaker.user, mutedAt, 1000);
      console.log(`# ${JSON.stringify(heard)}`);
      assert.ok(heard.loudestAfter < 0.001, `peaks of ${heard.loudestAfter} after a mute`);
      if (drop) {
        const stats = Object.values(await listener.stats(speaker.user)).find((each) => each.kind === 'audio' && each.type === 'inbound-rtp');
        console.log(`# concealed ${stats.concealedSamples}, FEC ${stats.fecPacketsReceived}, lost ${stats.packetsLost}`);
      }
    });
  }

  scenario('the strip of a picture survives a PNG', async (lab) => {
    const member = await lab.member('good', { size: '640x360' });
    await member.until('its camera runs', async () => member.page.evaluate(() => window.member.camera?.counter > 3));
    const [counter, url] = await member.page.evaluate(() => {
      const { camera } = window.member;
      camera.draw();
      return [camera.counter - 1, camera.canvas.toDataURL('image/png')];
    });
    const picture = readPicture(Buffer.from(url.split(',')[1], 'base64'));
    assert.equal(picture.width, 640);
    assert.equal(picture.strip.counter, counter);
    assert.ok(Math.abs(picture.strip.capturedAt - (monotonic() % 2 ** 32)) < 2000);
    assert.ok(picture.brightness > 20 && picture.brightness < 230);
  });
});
