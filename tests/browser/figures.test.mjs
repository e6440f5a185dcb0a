// The figures that are demanded, printed always. A figure that is missed is tried once more before it fails.

import assert from 'node:assert/strict';
import { suite } from './harness.mjs';
import { assertBothWays, latencyOfOnset, pictureLatency, soundLatency } from './measure.mjs';
import { fromWall, median, monotonic, waitFor } from './wait.mjs';

const SMALL = { size: '320x180', fps: 15 };
const PHRASES = 5;
/** One comes each second. */
const REPORTS = 6;

suite('figures', (scenario) => {
  for (const manner of ['v2', 'v1']) {
    scenario(`a box that joins ${manner} has and gives a picture within 2 s`, async (lab) => {
      const member = await lab.member(manner, SMALL);
      await member.until('its camera runs', () => member.page.evaluate(() => window.member.camera?.counter > 0));
      const box = await lab.box();
      const [seen, given] = await Promise.all([firstPictureAtBox(box, member), firstPictureAtPage(member, box)]);
      const joinedAt = joinTime(lab, box);
      lab.figure(`box-joins-${manner}-first-picture-in-browser`, given - joinedAt, 'ms', { most: 2000 });
      lab.figure(`box-joins-${manner}-first-picture-in-box`, seen - joinedAt, 'ms', { most: 2000 });
    });

    scenario(`${manner} that joins late has a picture within 3 s`, async (lab) => {
      const box = await lab.box();
      const early = await lab.member('good', { id: '4', ...SMALL });
      await early.untilPicture(box.user);
      const late = await lab.member(manner, SMALL);
      const [seen, given] = await Promise.all([firstPictureAtBox(box, late), firstPictureAtPage(late, box)]);
      const joinedAt = joinTime(lab, late);
      lab.figure(`late-${manner}-first-picture-in-browser`, given - joinedAt, 'ms', { most: 3000 });
      lab.figure(`late-${manner}-first-picture-in-box`, seen - joinedAt, 'ms', { most: 3000 });
    });
  }

  scenario('from mouth to ear at most 250 ms, picture and sound within 80 ms', async (lab) => {
    const box = await lab.box({ microphone: 'sim:speech', video: { frame_rate: 30 } });
    const member = await lab.member('v2', { ...SMALL, mic: 'speech:660' });
    await member.untilPicture(box.user);
    // A browser aligns picture and sound by the sender's reports, over some seconds.
    await waitFor('sender reports for picture and sound', async () => {
      const stats = await member.stats(box.user);
      return ['audio', 'video'].every((kind) => stats[`reports-${kind}`]?.reportsSent >= REPORTS);
    }, { within: 20_000, every: 200 });
    const [picture, sound, heard] = await Promise.all([
      pictureLatency(member, box.user, 30 * PHRASES),
      soundLatency(member, box.user, PHRASES),
      boxSoundLatency(box),
    ]);
    lab.figure('box-to-browser-glass-to-glass', picture, 'ms');
    lab.figure('box-to-browser-mouth-to-ear', sound, 'ms', { most: 250 });
    lab.figure('browser-to-box-mouth-to-ear', heard, 'ms', { most: 250 });
    lab.figure('picture-and-sound-apart', Math.abs(picture - sound), 'ms', { most: 80 });
  });

  for (const browsers of [1, 3]) {
    scenario(`every captured frame is encoded once with ${browsers} peer${browsers > 1 ? 's' : ''}`, async (lab) => {
      const box = await lab.box();
      const members = [];
      for (let i = 0; i < browsers; i += 1) members.push(await lab.member('good', { id: `${2 * i + 5}`, size: '160x90', fps: 5 }));
      for (const member of members) await member.untilPicture(box.user);
      const before = await box.frames();
      const after = await waitFor('60 more frames captured', async () => {
        const now = await box.frames();
        return now.captured >= before.captured + 60 && now;
      }, { every: 100 });
      const captured = after.captured - before.captured;
      const encoded = after.encoded - before.encoded;
      lab.figure(`frames-captured-with-${browsers}-peers`, captured, 'frames');
      lab.figure(`frames-encoded-with-${browsers}-peers`, encoded, 'frames');
      // Once for all peers. On a busy machine a frame that the next one overtook is left out, which is no fault.
      assert.ok(encoded <= captured + 1 && encoded >= captured / 2, `${captured} frames captured, ${encoded} encoded`);
    });
  }

  scenario('a picture of 1280x720 goes both ways', async (lab) => {
    const box = await lab.box({ video: { width: 1280, height: 720, frame_rate: 30, bitrate: 1_500_000 } });
    const member = await lab.member('v2', { size: '1280x720', fps: 15 });
    await assertBothWays(box, member);
    const { remotes } = await member.read();
    assert.equal(remotes[box.user].picture.width, 1280);
    const readings = (await member.readings(box.user)).slice(-30);
    lab.figure('frame-rate-720p-in-browser', ((readings.length - 1) * 1000) / (readings.at(-1).shownAt - readings[0].shownAt), 'frames/s');
  });
});

// When the server got the member's first `meeting:join`.
function joinTime(lab, { user }) {
  const [first] = lab.gateway.received({ user, event: 'meeting:join' });
  return fromWall(first.at);
}

async function firstPictureAtBox(box, member) {
  await waitFor(`a test card of ${member.user} in the box`, async () => (await box.picture(member.user))?.strip, { every: 20, state: () => box.status() });
  return monotonic();
}

async function firstPictureAtPage(member, box) {
  const { remotes } = await member.until(`a test card of ${box.user}`, (state) => state.remotes[box.user]?.picture.firstStripAt);
  return remotes[box.user].picture.firstStripAt;
}

// The browser speaks at each whole second; the speaker says when it last heard sound rise.
async function boxSoundLatency(box) {
  const since = monotonic();
  const onsets = new Set();
  await waitFor(`${PHRASES} phrases at the box's loudspeaker`, async () => {
    const { onset_ms: onset } = await box.heard();
    if (onset > since) onsets.add(onset);
    return onsets.size >= PHRASES;
  }, { within: 15_000, every: 50, state: () => box.health() });
  return median([...onsets].map(latencyOfOnset));
}
