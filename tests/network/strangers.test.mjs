// Strangers hold everything that a hub gives to somebody unknown. A box and a guest join within two seconds all the same, again
// and again; members who are in notice nothing; the hub's memory and descriptors stay flat.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { Hub } from '../browser/hub.mjs';
import { Lab, runOnce } from '../browser/harness.mjs';
import { describe, it } from 'node:test';
import { monotonic, observe, waitFor } from '../browser/wait.mjs';
import { Attacker, Vitals, printCounts, quantile, seedOf, total } from './attacker.mjs';
import { LIGHT, OUTPUT } from './harness.mjs';

const { io } = createRequire(new URL('../browser/package.json', import.meta.url))('socket.io-client');

const SECONDS = Number(process.env.HUDDLED_STRANGERS_SECONDS ?? 30);
/** A join with a right token takes at most this, ms. */
const JOINED = 2000;
/** The longest a message between members may take, ms. */
const LATENCY = 1000;
const MESSAGE_EVERY = 100;
const JOIN_EVERY = 1000;
/** The page's pause before its second attempt, ms. */
const AGAIN = 1000;
const MEMORY = 30;
const DESCRIPTORS = 150;
/** Once the strangers have gone. */
const LEFT = 20;
const LINES_PER_MINUTE = 400;
const LIMIT = 150_000;
/** The address of the honest among them: whoever shares an office with a stranger is not kept out. */
const ADDRESSES = ['127.0.0.1', ...Array.from({ length: 30 }, (_, index) => `127.0.0.${index + 2}`)];

/** A member by the official client. */
class Member {
  /** Joins by a link; rejects where that takes longer than `within`. */
  static async join(hub, within = 20_000) {
    const begun = monotonic();
    const response = await post(`${hub.url}/api/v1/public-meetings/main/join`, hub.linkToken(), within);
    const member = new Member(hub, response);
    try {
      return await member.untilJoined(within - (monotonic() - begun));
    } catch (error) {
      member.close();
      throw error;
    }
  }

  constructor(hub, { userId, token }) {
    this.user = userId;
    this.heard = [];
    this.socket = io(hub.url, { auth: { token, name: 'Honest' }, transports: ['websocket'], forceNew: true, reconnection: false, rejectUnauthorized: false });
    this.socket.onAny((event, payload) => this.heard.push({ event, payload, at: monotonic() }));
    for (const event of ['disconnect', 'connect_error']) this.socket.on(event, (payload) => this.heard.push({ event, payload, at: monotonic() }));
    this.socket.on('connect', () => this.socket.emit('meeting:join', { meetingId: 'main', userId }));
  }

  async untilJoined(within) {
    await waitFor('joined', () => {
      const refused = this.heard.find(({ event }) => ['error', 'connect_error', 'disconnect'].includes(event));
      if (refused) throw Object.assign(new Error(`${refused.event}: ${refused.payload?.message ?? refused.payload}`), { fatal: true });
      return this.heard.some(({ event }) => event === 'meeting:joined');
    }, { within, every: 5 });
    return this;
  }

  close() {
    this.socket.disconnect();
  }
}

async function post(url, token, within) {
  const send = url.startsWith('https:') ? (await import('node:https')).request : (await import('node:http')).request;
  return new Promise((done, fail) => {
    const request = send(url, { method: 'POST', agent: false, rejectUnauthorized: false, timeout: within, headers: { authorization: `Bearer ${token}`, 'content-length': 0 } }, (response) => {
      let text = '';
      response.on('data', (data) => { text += data; });
      response.on('error', fail);
      response.on('end', () => (response.statusCode === 201 ? done(JSON.parse(text)) : fail(new Error(`status ${response.statusCode}: ${text.slice(0, 200)}`))));
    });
    request.on('timeout', () => request.destroy(new Error(`no answer within ${within} ms`)));
    request.on('error', fail);
    request.end();
  });
}

/** Two members who talk all the while; how long each message took, ms. */
class Talk {
  constructor(one, other) {
    this.members = [one, other];
    this.sent = 0;
    this.latencies = [];
    this.arrived = new Set();
    other.socket.on('webrtc:ice-candidate', ({ fromUserId: from, candidate }) => {
      const number = Number(/^candidate:(\d+) /.exec(candidate?.candidate)?.[1]);
      if (from !== one.user || Number.isNaN(number)) return;
      this.arrived.add(number);
      this.latencies.push(monotonic() - this.sentAt[number]);
    });
    this.sentAt = [];
    this.timer = setInterval(() => {
      this.sentAt.push(monotonic());
      one.socket.emit('webrtc:ice-candidate', { targetUserId: other.user, candidate: { candidate: `candidate:${this.sent} 1 udp 1 192.0.2.1 9 typ host`, sdpMid: '0', sdpMLineIndex: 0 } });
      this.sent += 1;
    }, MESSAGE_EVERY);
  }

  async end() {
    clearInterval(this.timer);
    await observe(1000);
    return { lost: this.sent - this.arrived.size, latencies: this.latencies, cutOff: this.members.filter(({ socket }) => socket.disconnected).length };
  }
}

/** Does something again and again until the time is over; how long each took, ms, `Infinity` where it failed. */
async function again(until, attempt) {
  const took = [];
  const failures = [];
  while (monotonic() < until) {
    const begun = monotonic();
    try {
      took.push(await attempt());
    } catch (error) {
      took.push(Infinity);
      failures.push(error.message.slice(0, 160));
    }
    await observe(Math.max(0, begun + JOIN_EVERY - monotonic()));
  }
  return { took, failures };
}

/** Leaves and joins; how long the join took. */
async function boxJoins(box) {
  await box.ask('leave');
  await box.until('left', ({ signaling }) => signaling.state === 'left', 3000);
  const begun = monotonic();
  await box.ask('join');
  await box.untilJoined(3 * JOINED);
  return monotonic() - begun;
}

/** As the guest page does it: a server that is busy or cannot be reached is asked again. */
async function guestJoins(hub) {
  const begun = monotonic();
  for (;;) {
    try {
      const member = await Member.join(hub, 3 * JOINED);
      member.close();
      return monotonic() - begun;
    } catch (error) {
      if (monotonic() - begun + AGAIN > JOINED) throw error;
      await observe(AGAIN);
    }
  }
}

async function besieged(lab) {
  const hub = lab.gateway;
  const talk = new Talk(await Member.join(hub), await Member.join(hub));
  const box = await lab.boxOnHub({ ...LIGHT, ...(hub.options.tls !== 'off' && { signaling: 'token_file = "token"\nca_file = "ca.pem"', ca: true }) });
  await box.untilJoined(20_000);
  await observe(1000);
  const lines = hub.lines.length;
  const vitals = new Vitals('hub', hub.process.pid);
  const attacker = new Attacker(['--seed', seedOf(), '--seconds', String(SECONDS), 'strangers', '--hub', `127.0.0.1:${hub.port}`, ...(hub.options.tls === 'off' ? [] : ['--tls']), '--from', ADDRESSES.join(',')]);
  const attackerVitals = new Vitals('strangers', attacker.pid);
  try {
    // First they take what there is.
    await observe(3000);
    const until = monotonic() + (SECONDS - 4) * 1000;
    const [guests, boxes] = await Promise.all([again(until, () => guestJoins(hub)), again(until, () => boxJoins(box))]);
    attackerVitals.end();
    const report = await attacker.report();
    printCounts(report);
    const { memory, descriptors } = vitals.end();
    const { lost, latencies, cutOff } = await talk.end();
    const name = `strangers-${hub.options.tls === 'off' ? 'http' : 'https'}`;
    for (const [who, { took, failures }] of Object.entries({ guest: guests, box: boxes })) {
      const failed = took.filter((each) => !Number.isFinite(each)).length;
      if (failed > 0) console.log(`# ${who}: ${[...new Set(failures)].slice(0, 4).join('; ')}`);
      lab.figure(`${name}-${who}-joins-refused`, failed, `of ${took.length}`, { most: 0 });
      lab.figure(`${name}-${who}-joins-p50`, Math.min(quantile(took, 0.5), 99_999), 'ms');
      lab.figure(`${name}-${who}-joins-slowest`, Math.min(Math.max(...took), 99_999), 'ms', { most: JOINED });
    }
    lab.figure(`${name}-message-p50`, quantile(latencies, 0.5), 'ms');
    lab.figure(`${name}-message-p99`, quantile(latencies, 0.99), 'ms');
    lab.figure(`${name}-message-max`, Math.max(...latencies), 'ms', { most: LATENCY });
    lab.figure(`${name}-messages-lost`, lost, 'messages', { most: 0 });
    lab.figure(`${name}-members-cut-off`, cutOff, 'members', { most: 0 });
    lab.figure(`${name}-memory-growth`, memory.growth, 'MiB', { most: MEMORY });
    lab.figure(`${name}-descriptors-growth`, descriptors.growth, 'descriptors', { most: DESCRIPTORS });
    lab.figure(`${name}-descriptors-left`, descriptors.end - descriptors.start, 'descriptors', { most: LEFT });
    lab.figure(`${name}-journal`, ((hub.lines.length - lines) * 60) / SECONDS, 'lines/min', { most: LINES_PER_MINUTE });
    const { counts } = report;
    assert.ok(total(counts, 'opened: ') > 5 * SECONDS, 'the strangers opened hardly anything');
    assert.ok(counts['most held at once'] > 30, 'the strangers held hardly anything');
  } finally {
    await attacker.close();
    for (const member of talk.members) member.close();
  }
}

describe('strangers at the hub', () => {
  for (const tls of ['off', 'self-signed']) {
    it(`keep nobody out and disturb nobody, ${tls === 'off' ? 'over HTTP' : 'over TLS'}`, { timeout: LIMIT }, async () => {
      for (let attempt = 1; ; attempt += 1) {
        const failure = await attemptWith(tls, attempt);
        if (!failure) return;
        if (attempt === 2) throw failure;
        console.log(`REPEAT strangers, ${tls}: ${failure.message}`);
      }
    });
  }
});

// As in the other scenarios: repeated once with twice the limits, because the machine may be busy.
async function attemptWith(tls, attempt) {
  const hub = await Hub.start({ tls });
  const lab = new StrangersLab({ name: 'strangers', gateway: hub }, `attempt with tls ${tls}`);
  lab.allowance = attempt;
  try {
    const failure = await runOnce(lab, () => besieged(lab));
    return failure ?? (lab.misses.length > 0 ? new Error(lab.misses.join('; ')) : null);
  } finally {
    await hub.close();
  }
}

/** Misses fail at the end, so that the other figures are there too. */
class StrangersLab extends Lab {
  constructor(world, title) {
    super(world, title);
    this.output = OUTPUT;
    this.misses = [];
  }

  async boxOnHub({ ca, id = '8', ...options }) {
    const box = this.prepareBox({ id, signaling: 'token_file = "token"', ...options });
    box.give('token', await this.gateway.token(box.user, this.meeting));
    if (ca) box.give('ca.pem', await this.gateway.certificate());
    return box.start();
  }

  figure(...words) {
    try {
      super.figure(...words);
    } catch (error) {
      this.misses.push(error.message);
    }
  }
}
