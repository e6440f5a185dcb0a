// The server is lost, lies, refuses or forgets; the box loses its address, or its life.

import assert from 'node:assert/strict';
import { monotonic, observe, waitFor } from '../browser/wait.mjs';
import { pairsOf, suite } from './harness.mjs';
import { announced, assertTrueStateAfterJoin, everybodySees, mixedMeeting, offersBetween } from './meeting.mjs';
import { isBox } from './recorder.mjs';

const joins = async (lab, box) => (await lab.gateway.received({ user: box.user, event: 'meeting:join' })).length;

/** The server's connections go, the members' own stay: media between boxes is not to notice, a browser is back in 3 s. */
const ROOM_GAP = 500;
const BROWSER_GAP = 3000;

suite('signaling', (scenario) => {
  scenario('the box’s address changes', async (lab) => {
    const { box, others, recorder } = await mixedMeeting(lab);
    const at = await lab.network.readdress(box.host);
    for (const other of others) {
      for (const [receiver, sender, way] of [[box, other, 'in'], [other, box, 'out']]) {
        // What is on its way does not count: pictures from half a second later on.
        const backAt = await recorder.untilBack(receiver, sender, at + 500, 20_000);
        lab.figure(`address-change-${other.label}-${way}`, backAt - at, 'ms', { most: 5000, goal: 2000 });
      }
    }
    await box.untilJoined(10_000);
  });

  scenario('the server restarts while the box is muted', async (lab) => {
    const [box, other] = await lab.boxesWith('8', '2');
    const member = await lab.member('v2');
    const recorder = lab.record([box, other, member]);
    await everybodySees(recorder, [[box, member], [box, other]]);
    await box.ask('mute');
    await member.until('the page knows', ({ roster }) => roster[box.user]?.isMuted);
    const from = monotonic();
    await lab.gateway.restart({ downMs: 2000 });
    const upAt = monotonic();
    await box.untilJoined(10_000);
    lab.figure('server-restart-joined-again-after', monotonic() - upAt, 'ms', { most: 4000, goal: 1000 });
    await member.untilJoined(10_000);
    await assertTrueStateAfterJoin(lab, box, [other, member], from, { muted: true, off: false });
    await recorder.untilAllBack([[box, member]], upAt, 15_000);
    const opened = (await announced(lab, box)).filter(({ at, payload }) => at > from && payload.isMuted === false);
    assert.deepEqual(opened, [], 'announced open while muted');
    assert.equal((await box.status()).microphone.confirmed, true);
    await observe(1000);
    for (const [receiver, sender] of [[box, other], [other, box]]) {
      lab.figure(`server-restart-gap-${receiver.label}-sees-${sender.label}`, recorder.longestGap(receiver, sender, from, monotonic()), 'ms', { most: ROOM_GAP });
    }
    assert.equal(recorder.effort(box, other, from).connections, 0, 'the connection between the boxes was made anew though nothing was wrong with it');
  });

  scenario('the box’s connection to the server is cut, and theirs are not', async (lab) => {
    const { box, others, recorder } = await mixedMeeting(lab);
    await observe(1000);
    const before = await joins(lab, box);
    const at = monotonic();
    await lab.gateway.kill({ user: box.user });
    await waitFor('joined again', async () => (await joins(lab, box)) > before, { within: 5000 });
    await box.untilJoined(5000);
    lab.figure('connection-cut-joined-again-after', monotonic() - at, 'ms', { most: 2000 });
    await recorder.untilAllBack(others.map((other) => [box, other]), monotonic(), 15_000);
    // The server told everybody that the box has left: a browser closes its side and builds it anew, a box does not.
    await observe(3000);
    for (const other of others) {
      for (const [receiver, sender, way] of [[box, other, 'in'], [other, box, 'out']]) {
        lab.figure(`connection-cut-gap-${other.label}-${way}`, recorder.longestGap(receiver, sender, at, monotonic()), 'ms', { most: isBox(other) ? ROOM_GAP : BROWSER_GAP });
      }
    }
    assert.equal(recorder.effort(box, others[0], at).connections, 0, 'the connection between the boxes was made anew though nothing was wrong with it');
  });

  scenario('kill -9 of the box, and it is back at once, muted as it was', async (lab) => {
    const { box, others, recorder } = await mixedMeeting(lab);
    await box.ask('mute');
    await box.until('mute confirmed', ({ microphone }) => microphone.confirmed);
    // On disk within a moment; a power cut in this moment is another test's business.
    await observe(300);
    box.process.kill('SIGKILL');
    await box.exited;
    await Promise.all(lab.recorders.splice(0).map((each) => each.stop()));
    const again = lab.record([box, ...others]);
    const at = monotonic();
    await box.start();
    assert.equal((await box.status()).microphone.muted, true);
    for (const other of others) {
      for (const [receiver, sender, way] of [[box, other, 'in'], [other, box, 'out']]) {
        const backAt = await again.untilBack(receiver, sender, at + 200, 20_000);
        lab.figure(`killed-${other.label}-${way}`, backAt - at, 'ms', { most: 5000, goal: 2000 });
      }
    }
    const opened = (await announced(lab, box)).filter((each) => each.at > at && each.payload.isMuted === false);
    assert.deepEqual(opened, [], 'announced open after the start while muted');
    assert.ok(recorder.stopped);
  });

  scenario('a wrong token is refused, said so, and the server not hammered', async (lab) => {
    const box = await lab.prepareBox({ signaling: 'token_file = "token"' });
    box.expectError(/token|refused|Authentication/i);
    box.give('token', 'not.a.token');
    await box.start();
    await box.until('refused', ({ signaling }) => signaling.state === 'refused', 20_000);
    const tries = async () => (await lab.gateway.connected({ user: box.user })).length + (await lab.gateway.requested()).length;
    const before = await tries();
    await observe(5000);
    const more = (await tries()) - before;
    assert.ok(more <= 2, `${more} requests in 5 s after the refusal`);
    assert.equal((await box.status()).leds.status.includes('red'), true, 'the status LED does not say so');
  });

  scenario('the server announces that the box itself has left', async (lab) => {
    const { box, others, recorder } = await mixedMeeting(lab);
    const before = await joins(lab, box);
    const at = monotonic();
    // Out of the blue, as when it notices an old connection die: row offline, own id to the room.
    await lab.gateway.dropRow({ user: box.user });
    await waitFor('left and joined again', async () => (await joins(lab, box)) > before, { within: 5000 });
    await waitFor('the row is online', async () => (await lab.gateway.rows({ meeting: lab.meeting })).find(({ userId }) => userId === box.user)?.online);
    await observe(500);
    await recorder.untilAllBack(others.map((other) => [box, other]), monotonic(), 15_000);
    await observe(1500);
    for (const other of others) {
      for (const [receiver, sender, way] of [[box, other, 'in'], [other, box, 'out']]) {
        lab.figure(`own-id-left-gap-${other.label}-${way}`, recorder.longestGap(receiver, sender, at, monotonic()), 'ms', { most: isBox(other) ? ROOM_GAP : BROWSER_GAP });
      }
    }
    assert.ok((await joins(lab, box)) - before <= 2, 'it goes on leaving and joining');
  });

  scenario('the box’s row has vanished: the server says Not authorized until the REST join is made again', async (lab) => {
    const box = await lab.prepareBox({ signaling: 'token_file = "token"' });
    await lab.gateway.setOptions({ openMeeting: false });
    const { token } = await lab.gateway.giveToken({ user: box.user });
    box.give('token', token);
    await box.start();
    await box.untilJoined(20_000);
    const restJoins = async () => (await lab.gateway.requested()).filter(({ path }) => path.endsWith('/join')).length;
    const before = await restJoins();
    const at = monotonic();
    await lab.gateway.removeRow({ meeting: lab.meeting, user: box.user });
    await lab.gateway.kill({ user: box.user });
    await waitFor('the REST join again', async () => (await restJoins()) > before, { within: 15_000 });
    await waitFor('joined again', async () => (await lab.gateway.rows({ meeting: lab.meeting })).some(({ userId, online }) => userId === box.user && online), { within: 15_000 });
    await box.untilJoined(10_000);
    lab.figure('row-vanished-joined-again-after', monotonic() - at, 'ms', { most: 10_000 });
  });

  scenario('the server accepts and then is silent', async (lab) => {
    const [box, other] = await lab.boxesWith('8', '2');
    const recorder = lab.record([box, other]);
    await everybodySees(recorder, [[box, other]]);
    const from = monotonic();
    lab.gateway.stall();
    await box.until('the loss of the server is shown', ({ signaling, banner }) => signaling.state !== 'joined' && banner !== null, 40_000);
    lab.figure('silent-server-noticed-after', monotonic() - from, 'ms');
    await observe(5000);
    lab.gateway.resume();
    const upAt = monotonic();
    await Promise.all([box, other].map((each) => each.untilJoined(15_000)));
    lab.figure('silent-server-joined-again-after', monotonic() - upAt, 'ms', { most: 5000 });
    await observe(2000);
    for (const [receiver, sender] of [[box, other], [other, box]]) {
      lab.figure(`silent-server-gap-${receiver.label}-sees-${sender.label}`, recorder.longestGap(receiver, sender, from, monotonic()), 'ms', { most: ROOM_GAP });
    }
    assert.equal(recorder.effort(box, other, from).connections, 0);
  });

  scenario('a frozen connection to the server is given up for a new one', async (lab) => {
    const [box, other] = await lab.boxesWith('8', '2');
    const recorder = lab.record([box, other]);
    await everybodySees(recorder, pairsOf([box, other]));
    const before = (await lab.gateway.connected({ user: box.user })).length;
    const from = monotonic();
    await lab.gateway.freeze({ user: box.user });
    await waitFor('a new connection', async () => (await lab.gateway.connected({ user: box.user })).length > before, { within: 40_000, every: 100 });
    lab.figure('frozen-connection-replaced-after', monotonic() - from, 'ms');
    await box.untilJoined(10_000);
    await observe(1000);
    lab.figure('frozen-connection-gap', recorder.longestGap(box, other, from, monotonic()), 'ms', { most: ROOM_GAP });
    assert.equal(await offersBetween(lab, box, other, from), 0, 'an offer though the media was well');
  });
});
