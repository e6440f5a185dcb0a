// The official client on the hub. Standard input: {url, meeting, guest, host, ca, options}; exit code 0 if everything
// was as it should be.

import assert from 'node:assert/strict';
import { request as plain } from 'node:http';
import { request as secure } from 'node:https';
import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';

const { io } = createRequire(new URL('../browser/package.json', import.meta.url))('socket.io-client');
const { url, meeting, guest, host, ca, options } = JSON.parse(await text(process.stdin));
const PATIENCE = 20_000;

// A POST of the REST interface: [status, answer].
function post(path, token) {
  return new Promise((resolve, reject) => {
    const send = url.startsWith('https:') ? secure : plain;
    const request = send(`${url}/api/v1/${path}`, { method: 'POST', ca, headers: { authorization: `Bearer ${token}` } });
    request.on('error', reject);
    request.on('response', async (response) => resolve([response.statusCode, JSON.parse(await text(response))]));
    request.end();
  });
}

async function until(what, condition) {
  const deadline = Date.now() + PATIENCE;
  while (!condition()) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

class Member {
  constructor(auth) {
    this.heard = [];
    // Like the guest page, the token with the first request too.
    const early = options.early && auth.token;
    this.socket = io(url, {
      auth, ca, transports: options.transports, forceNew: true, reconnection: false,
      ...(early && { protocols: ['huddled-token', early], transportOptions: { polling: { extraHeaders: { authorization: `Bearer ${early}` } } } }),
    });
    this.socket.onAny((event, payload) => this.heard.push([event, payload]));
    for (const event of ['connect', 'disconnect', 'connect_error']) {
      this.socket.on(event, (payload) => this.heard.push([`(${event})`, payload]));
    }
  }

  // The payload of the next event, which has this name: nothing else may come before.
  async take(event) {
    await until(`no ${event}`, () => this.heard.length > 0);
    const [name, payload] = this.heard.shift();
    assert.equal(name, event, JSON.stringify(payload)?.slice(0, 200));
    return payload;
  }

  send(event, ...payload) {
    this.socket.emit(event, ...payload);
  }

  transport() {
    return this.socket.io.engine.transport.name;
  }

  static async joined(link) {
    const [status, answer] = await post(`public-meetings/${meeting}/join`, link);
    assert.equal(status, 201, JSON.stringify(answer));
    const member = new Member({ token: answer.token, name: `Guest ${answer.role}` });
    member.token = answer.token;
    member.user = answer.userId;
    await member.take('(connect)');
    member.send('meeting:join', { meetingId: meeting, userId: answer.userId });
    member.participants = (await member.take('meeting:participants')).participants;
    assert.equal((await member.take('meeting:joined')).userId, answer.userId);
    return member;
  }
}

const one = await Member.joined(host);
assert.deepEqual(one.participants.map((row) => row.role), ['host']);
one.send('media:screen-share', { isSharing: true });
await one.take('media:user-screen-share');
const two = await Member.joined(guest);
assert.deepEqual(two.participants.map((row) => row.userName), ['Guest host', 'Guest participant']);
assert.deepEqual([(await two.take('media:user-screen-share')).userId], [one.user]);
assert.equal((await one.take('meeting:user-joined')).userId, two.user);
await until('the transport is another one', () => one.transport() === options.ends && two.transport() === options.ends);

// In order, in both directions and dialects.
for (const [from, to] of [[one, two], [two, one]]) {
  from.send('webrtc:ready');
  from.send('media:ready', { roomId: meeting, userId: from.user });
  for (let number = 0; number < 20; number += 1) {
    from.send('media:offer', { roomId: meeting, targetUserId: to.user, offer: { type: 'offer', sdp: `v=0 ${number} ${'x'.repeat(10_000)}` } });
    from.send('webrtc:ice-candidate', { targetUserId: to.user, candidate: { candidate: `candidate:${number}`, sdpMid: '0', sdpMLineIndex: 0 } });
  }
  assert.equal((await to.take('webrtc:peer-ready')).userId, from.user);
  assert.equal((await to.take('media:peer-ready')).userId, from.user);
  for (let number = 0; number < 20; number += 1) {
    const offer = await to.take('media:offer');
    assert.equal(offer.fromUserId, from.user);
    assert.ok(offer.offer.sdp.startsWith(`v=0 ${number} `));
    assert.equal((await to.take('webrtc:ice-candidate')).candidate.candidate, `candidate:${number}`);
  }
}

// Without an argument, and its answer.
two.send('meeting:request-peers');
assert.equal((await two.take('meeting:user-joined')).userId, one.user);

// The same member on a new connection.
const newer = new Member({ token: two.token });
await newer.take('(connect)');
newer.send('meeting:join', { meetingId: meeting, userId: two.user });
await newer.take('meeting:participants');
await newer.take('meeting:joined');
await newer.take('media:user-screen-share');
assert.equal((await two.take('error')).code, 'replaced');
assert.equal(await two.take('(disconnect)'), 'io server disconnect');
assert.equal((await one.take('meeting:user-joined')).userId, two.user);

// A host's orders.
newer.send('admin:mute-user', { targetUserId: one.user, mute: true });
one.send('admin:mute-user', { targetUserId: two.user, mute: true });
assert.deepEqual(await newer.take('media:user-muted'), { userId: two.user, isMuted: true });
one.send('admin:kick-user', { targetUserId: two.user, reason: 'end' });
assert.equal((await newer.take('user:kicked')).reason, 'end');
assert.equal((await newer.take('meeting:user-left')).userId, two.user);
assert.equal((await newer.take('error')).code, 'removed');
assert.equal(await newer.take('(disconnect)'), 'io server disconnect');
await one.take('media:user-muted');
await one.take('user:kicked');
assert.deepEqual(Object.keys(await one.take('meeting:user-left')).sort(), ['timestamp', 'userId']);

// A wrong token.
const stranger = new Member({ token: 'nonsense' });
await stranger.take('(connect)');
assert.match((await stranger.take('error')).message, /^Authentication required/);
assert.equal(await stranger.take('(disconnect)'), 'io server disconnect');

// Going is noticed.
const three = await Member.joined(guest);
await one.take('meeting:user-joined');
three.socket.disconnect();
assert.equal((await one.take('meeting:user-left')).userId, three.user);
assert.deepEqual(one.heard, []);
one.socket.disconnect();
