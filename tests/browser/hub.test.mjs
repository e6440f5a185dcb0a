// A small office without the platform: boxes and people on the embedded hub.

import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { GuestPage } from './guest.mjs';
import { suite } from './harness.mjs';
import { Hub } from './hub.mjs';
import { untilBoxHears, untilBoxSees } from './measure.mjs';
import { observe, waitFor } from './wait.mjs';

const LIGHT = { video: { width: 320, height: 180, frame_rate: 10, bitrate: 200_000 } };

// The box sees moving pictures of a person with Chromium's imitation of a camera.
async function boxSees(box, user) {
  const first = await waitFor(`a picture of ${user} at the box`, () => box.pictureBytes(user));
  await waitFor(`the picture of ${user} at the box changes`, async () => {
    const next = await box.pictureBytes(user);
    return next && !next.equals(first);
  });
}

// The fake microphone beeps now and then.
const boxHears = (box) => waitFor('the box hears the person', async () => (await box.heard())?.peak_dbfs > -40 || (await box.heard())?.level_dbfs > -50, { state: () => box.heard() });

suite('the hub', (scenario) => {
  scenario('a person and a box see and hear each other', async (lab) => {
    const box = await lab.boxOnHub({ name: 'Blue Room', ...LIGHT });
    const guest = await lab.guest({ name: 'Ada <b>Lovelace</b>' });
    await guest.untilTestCard(box.user);
    await guest.untilHeard(box.user);
    await boxSees(box, guest.user);
    await boxHears(box);
    const { peers, connected } = await guest.read();
    assert.equal(peers[box.user].name, 'Blue Room');
    assert.equal(connected, 2);
    const status = await box.status();
    assert.deepEqual(status.peers.map(({ name }) => name), ['Ada <b>Lovelace</b>']);
    assert.equal(await guest.badge(box.user), '');
    assert.equal(await guest.banner(), '');

    await box.press('mic');
    await guest.until('sees that the box is muted', ({ peers: now }) => now[box.user].muted);
    await waitFor('silence from the box', async () => (await guest.peak(box.user)) === 0);
    await box.press('mic');
    await guest.untilHeard(box.user);

    await guest.page.click('#mic');
    await box.until('sees that the person is muted', ({ peers: [peer] }) => peer.muted);
    await guest.page.click('#camera');
    await box.until('sees that the camera is off', ({ peers: [peer] }) => peer.video_off);
    await guest.page.click('#camera');
    await boxSees(box, guest.user);
  });

  scenario('two people and a box, all with all', async (lab) => {
    const box = await lab.boxOnHub(LIGHT);
    const ada = await lab.guest({ name: 'Ada' });
    const bob = await lab.guest({ name: 'Bob' });
    await Promise.all([
      ada.untilTestCard(box.user),
      bob.untilTestCard(box.user),
      ada.untilFrames(bob.user),
      bob.untilFrames(ada.user),
      ada.untilHeard(bob.user),
      boxSees(box, ada.user),
      boxSees(box, bob.user),
    ]);
    await box.until('two connected peers', ({ connected_peers: count }) => count === 2);

    // One shares the screen: a tile of its own beside the camera.
    await bob.close();
    await box.until('one of them left', ({ peers }) => peers.length === 1);
    await ada.until('one of them left', ({ peers }) => !(bob.user in peers));
  });

  scenario('two boxes and nobody else', async (lab) => {
    const one = await lab.boxOnHub({ id: '3', name: 'Box One', microphone: 'sim:tone:440', ...LIGHT });
    const two = await lab.boxOnHub({ id: 'c', name: 'Box Two', microphone: 'sim:tone:550', ...LIGHT });
    await Promise.all([
      untilBoxSees(one, two.user),
      untilBoxSees(two, one.user),
      untilBoxHears(one, 550),
      untilBoxHears(two, 440),
    ]);
    assert.equal((await one.status()).peers[0].name, 'Box Two');
  });

  scenario('a person reloads the page and is the same one', async (lab) => {
    const box = await lab.boxOnHub(LIGHT);
    const guest = await lab.guest();
    await guest.untilTestCard(box.user);
    const before = guest.user;
    await guest.page.reload();
    if (await guest.page.isVisible('#join')) await guest.join();
    await guest.until('back in the meeting', ({ joined }) => joined);
    assert.equal((await guest.read()).userId, before);
    await guest.untilTestCard(box.user);
    await boxSees(box, before);
    assert.equal((await box.status()).peers.length, 1);
  });

  scenario('the hub dies and comes back: the page says so, the media goes on', async (lab) => {
    const box = await lab.boxOnHub(LIGHT);
    const guest = await lab.guest();
    await guest.untilTestCard(box.user);
    await lab.gateway.restart('SIGKILL', async () => {
      await waitFor('the banner', async () => (await guest.banner()) === 'Reconnecting to server');
      await box.until('the box says so too', ({ banner }) => banner === 'Reconnecting to server');
      const { counter } = await waitFor('a picture', () => guest.picture(box.user));
      await waitFor('the picture goes on without a server', async () => (await guest.picture(box.user))?.counter > counter + 5);
    });
    await guest.until('joined again', ({ joined }) => joined, 20_000);
    await box.untilJoined(20_000);
    await waitFor('no banner', async () => (await guest.banner()) === '');
    await guest.untilTestCard(box.user);
    await boxSees(box, guest.user);
  }, { limit: 180_000 });

  scenario('a host mutes a person and a box, and removes the person', async (lab) => {
    const box = await lab.boxOnHub(LIGHT);
    const host = await lab.guest({ name: 'Host', link: lab.gateway.hostLink(lab.meeting) });
    const guest = await lab.guest({ name: 'Bob' });
    assert.equal((await host.read()).role, 'host');
    assert.equal((await guest.read()).role, 'participant');
    await host.untilTestCard(box.user);
    await host.untilFrames(guest.user);
    await host.hostOrder(box.user, 'mute');
    await box.until('muted by a host', ({ microphone }) => microphone.confirmed === true && microphone.forced);
    await host.hostOrder(guest.user, 'mute');
    await guest.until('muted by a host', ({ muted }) => muted);
    await host.hostOrder(guest.user, 'kick');
    await guest.until('removed', ({ joined }) => !joined);
    await box.until('the person is gone', ({ peers }) => peers.length === 1);
  }, { slow: true });
}, { server: () => Hub.start() });

// A box and a person whom nothing that others do may disturb.
async function undisturbed(lab, body) {
  const box = await lab.boxOnHub(LIGHT);
  const guest = await lab.guest({ name: 'Bystander' });
  await guest.untilTestCard(box.user);
  await boxSees(box, guest.user);
  const before = await box.status();
  const [{ since_ms: _before }] = before.peers;
  const { counter } = await waitFor('a picture', () => guest.picture(box.user));
  await body({ box, guest });
  await waitFor('the picture went on', async () => (await guest.picture(box.user))?.counter > counter + 5);
  const after = await box.status();
  assert.equal(after.signaling.state, 'joined');
  assert.deepEqual(after.peers.map(({ user_id: id }) => id), [guest.user]);
  assert.equal(after.peers[0].connection_state, 'connected');
  assert.equal(after.peers[0].attempt, 0);
  // The connection is the one from before: its state lasts since then.
  assert.ok(after.signaling.since_ms >= before.signaling.since_ms);
  assert.ok(after.peers[0].since_ms >= before.peers[0].since_ms);
  assert.equal(await guest.banner(), '');
}

// A socket of the official client, and everything it was told.
function connect(hub, { meeting = 'main', ...auth }) {
  const socket = io(hub.url, { auth: { meetingId: meeting, ...auth }, reconnection: false, forceNew: true, transports: ['websocket'] });
  const heard = [];
  socket.onAny((event, payload) => heard.push({ event, payload }));
  socket.on('disconnect', (reason) => heard.push({ event: 'disconnect', reason }));
  return { socket, heard, refused: () => heard.find(({ event }) => event === 'error')?.payload };
}

const gone = (socket) => waitFor('the connection ends', () => socket.disconnected);

suite('the hub refuses', (scenario) => {
  scenario('a wrong token, and nobody notices', (lab) => undisturbed(lab, async () => {
    const hub = lab.gateway;
    for (const token of ['nonsense', `${hub.linkToken().slice(0, -3)}abc`, '']) {
      const response = await fetch(`${hub.url}/api/v1/public-meetings/main/join`, { method: 'POST', headers: token ? { authorization: `Bearer ${token}` } : {} });
      assert.equal(response.status, 401, await response.text());
      const { socket, refused } = connect(hub, { userId: 'somebody', token });
      const words = await waitFor('the refusal', refused);
      assert.equal(words.code, 'unauthorized');
      assert.ok(words.message.length > 10);
      await gone(socket);
    }
    // A person with a broken link is told what to do.
    const context = await lab.browser.newContext({ permissions: ['camera', 'microphone'] });
    const page = await context.newPage();
    await page.goto(hub.guestLink().replace(/token=.*/, 'token=wrong'));
    await page.fill('#name', 'Eve');
    await page.click('#join');
    await waitFor('words on the page', async () => /link/i.test(await page.innerText('body')) && /(valid|wrong|expired|ask)/i.test(await page.innerText('body')));
    await context.close();
  }));

  scenario('an id that lives, and nobody notices', (lab) => undisturbed(lab, async ({ box, guest }) => {
    const hub = lab.gateway;
    const eve = (await (await fetch(`${hub.url}/api/v1/public-meetings/main/join`, { method: 'POST', headers: { authorization: `Bearer ${hub.linkToken()}` } })).json());
    for (const victim of [box.user, guest.user]) {
      const { socket, refused } = connect(hub, { userId: victim, token: eve.token });
      assert.ok((await waitFor('the refusal', refused)).message);
      await gone(socket);
    }
  }));

  scenario('a message that is too large, and nobody notices', (lab) => undisturbed(lab, async () => {
    const hub = lab.gateway;
    const eve = (await (await fetch(`${hub.url}/api/v1/public-meetings/main/join`, { method: 'POST', headers: { authorization: `Bearer ${hub.linkToken()}` } })).json());
    const { socket } = connect(hub, { userId: eve.userId, token: eve.token });
    await waitFor('connected', () => socket.connected);
    socket.emit('meeting:join', { meetingId: 'main', userId: eve.userId });
    socket.emit('chat:message', { message: 'x'.repeat(2_000_000) });
    await gone(socket);
    const large = await fetch(`${hub.url}/api/v1/public-meetings/main/join`, { method: 'POST', headers: { authorization: `Bearer ${hub.linkToken()}` }, body: 'x'.repeat(2_000_000) }).catch((error) => ({ status: 0, error }));
    assert.ok([0, 413].includes(large.status), `${large.status}`);
  }));

  scenario('a flood, and nobody notices', (lab) => undisturbed(lab, async ({ box }) => {
    const hub = lab.gateway;
    const eve = (await (await fetch(`${hub.url}/api/v1/public-meetings/main/join`, { method: 'POST', headers: { authorization: `Bearer ${hub.linkToken()}` } })).json());
    const { socket, heard, refused } = connect(hub, { userId: eve.userId, token: eve.token });
    await waitFor('connected', () => socket.connected);
    // From outside the meeting: what a flood of a member would do to the others is the members' business, too.
    for (let i = 0; i < 1000; i += 1) socket.emit('media:offer', { roomId: 'main', targetUserId: box.user, offer: { type: 'offer', sdp: 'v=0' } });
    assert.equal((await waitFor('the refusal', refused, { state: () => heard })).code, 'rate');
    await gone(socket);
  }));

  scenario('a page of another origin', (lab) => undisturbed(lab, async () => {
    const hub = lab.gateway;
    const response = await fetch(`${hub.url}/socket.io/?EIO=4&transport=polling`, { headers: { origin: 'https://evil.example' } });
    assert.equal(response.status, 403);
    assert.equal(response.headers.get('access-control-allow-origin'), null);
  }));
}, { server: () => Hub.start() });

suite('a full hub', (scenario) => {
  scenario('tells the one who is too many, and those inside go on', async (lab) => {
    const box = await lab.boxOnHub(LIGHT);
    const guest = await lab.guest();
    await guest.untilTestCard(box.user);
    const context = await lab.browser.newContext({ permissions: ['camera', 'microphone'] });
    const page = await context.newPage();
    await page.goto(lab.gateway.guestLink());
    await page.fill('#name', 'Too Many');
    await page.click('#join');
    await waitFor('the page says that the meeting is full', async () => /full/i.test(await page.innerText('body')));
    await context.close();
    await observe(500);
    await guest.untilTestCard(box.user);
  }, { slow: true });
}, { server: () => Hub.start({ limits: { members: 2 } }) });
