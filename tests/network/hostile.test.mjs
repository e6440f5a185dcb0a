// A hostile member of a meeting floods, lies, delays and mutates at every layer while the box is in a call with an honest
// browser: pictures go on both ways, memory and descriptors stay flat, a press mutes at once.

import assert from 'node:assert/strict';
import { createConnection } from 'node:net';
import { loadavg } from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { GuestPage } from '../browser/guest.mjs';
import { Hub } from '../browser/hub.mjs';
import { monotonic, observe, waitFor } from '../browser/wait.mjs';
import { Attacker, Vitals, printCounts, quantile, seedOf, total, udpPorts } from './attacker.mjs';
import { suite } from './harness.mjs';

const SECONDS = Number(process.env.HUDDLED_HOSTILE_SECONDS ?? 60);
/** The longest an honest picture may stay away, ms. */
const GAP = 1000;
/** The longest from a press to confirmed silence, ms. */
const MUTED = 100;
/** Every second press mutes. */
const PRESS_EVERY = 1000;
/** Growth that is no growth: allocators, decoders and sockets of members who may be there. */
const MEMORY = 40;
const DESCRIPTORS = 40;
/** Lines of a journal, whatever is sent. */
const LINES_PER_MINUTE = 400;

/** Presses the microphone's button again and again; how long each press took to be confirmed, ms. */
class Presses {
  constructor(box) {
    this.box = box;
    this.muted = [];
    this.opened = [];
    this.lost = 0;
    this.socket = createConnection(box.socketPath);
    this.socket.write('{"id":1,"do":"watch"}\n');
    this.waiting = null;
    createInterface({ input: this.socket }).on('line', (line) => {
      const { snapshot } = JSON.parse(line);
      if (snapshot && this.waiting?.fits(snapshot)) this.waiting.done(monotonic());
    }).on('error', () => {});
    this.socket.on('error', () => {});
    this.ended = this.run();
  }

  async run() {
    for (let mute = true; !this.stopped; mute = !mute) {
      const next = monotonic() + PRESS_EVERY;
      const confirmed = new Promise((done) => {
        this.waiting = { done, fits: ({ microphone: { muted, confirmed: silent } }) => muted === mute && silent === mute };
      });
      const pressedAt = monotonic();
      await this.box.press('mic');
      const at = await Promise.race([confirmed, observe(5000)]);
      if (at === undefined) this.lost += 1;
      else (mute ? this.muted : this.opened).push(at - pressedAt);
      await observe(Math.max(0, next - monotonic()));
    }
  }

  async end() {
    this.stopped = true;
    await this.ended;
    this.socket.destroy();
  }
}

/** Notes in the page whenever a picture of a member is presented; by what is decoded where nothing is composited. */
async function watchPictures(guest, user) {
  await guest.page.evaluate((id) => {
    const shown = { times: [], frames: -1 };
    window.hostileShown = shown;
    setInterval(() => {
      const video = document.querySelector(`.tile[data-user="${CSS.escape(id)}"] video`);
      const frames = video?.getVideoPlaybackQuality().totalVideoFrames ?? 0;
      if (frames !== shown.frames) shown.times.push(performance.now());
      shown.frames = frames;
    }, 50);
  }, user);
  return async () => {
    const times = await guest.page.evaluate(() => [...window.hostileShown.times, performance.now()]);
    return Math.max(...times.slice(1).map((at, index) => at - times[index]));
  };
}

/** Opens the page and joins. A browser whose network has just come up may drop its first request. */
async function enter(guest) {
  try {
    await guest.enter();
  } catch (error) {
    if (!/ERR_NETWORK_CHANGED/.test(error.message)) throw error;
    await guest.enter();
  }
}

suite('a hostile member', (scenario) => {
  scenario('harms neither the call of others nor the box', async (lab) => {
    const hubHost = await lab.network.host('hub');
    const evil = await lab.network.host('evil');
    const hub = await Hub.start({ address: hubHost.address, port: 8443, tls: 'self-signed', prefix: hubHost.prefix });
    let attacker;
    try {
      const box = await lab.prepareBox({ url: hub.url, meeting: 'main', signaling: 'token_file = "token"\nca_file = "ca.pem"' });
      box.give('token', await hub.token(box.user));
      box.give('ca.pem', await hub.certificate());
      await box.start();
      const { browser } = await lab.browserHost();
      const guest = await GuestPage.open(browser, hub.guestLink(), { name: 'Ada' });
      lab.guests.push(guest);
      await enter(guest);
      await guest.untilTestCard(box.user, 30_000);
      const recorder = lab.record([box]);
      await recorder.untilBack(box, guest, monotonic(), 30_000);
      // Buffers and pools of the first seconds of a call.
      await observe(3000);
      const longestShown = await watchPictures(guest, box.user);

      const lines = { box: box.lines.length, hub: hub.lines.length };
      const vitals = { box: new Vitals('box', box.process.pid), hub: new Vitals('hub', hub.process.pid) };
      const from = monotonic();
      attacker = new Attacker(['--seed', seedOf(), '--seconds', String(SECONDS), 'member', '--link', hub.guestLink(), '--target', box.user, '--victim', guest.user], evil.prefix);
      const attackerVitals = new Vitals('attacker', attacker.pid);
      // A stranger who knows addresses and ports, that of the honest connection too.
      const telling = setInterval(() => attacker.tell(`ports ${udpPorts(box.process.pid, box.host.address).join(' ')}`), 1000);
      // What the test's own process adds to every time it takes.
      const delay = monitorEventLoopDelay({ resolution: 5 });
      delay.enable();
      const presses = new Presses(box);
      await observe(SECONDS * 1000);
      attackerVitals.end();
      const report = await attacker.report();
      clearInterval(telling);
      await presses.end();
      const to = monotonic();
      box.assertRunning();
      printCounts(report);
      const { counts } = report;

      lab.figure('hostile-gap-browser-sees-the-box', await longestShown(), 'ms', { most: GAP });
      lab.figure('hostile-gap-box-sees-the-browser', recorder.longestGap(box, guest, from, to), 'ms', { most: GAP });
      lab.figure('hostile-new-connections-of-the-honest', recorder.effort(box, guest, from).connections, 'connections', { most: 0 });
      console.log(`# load ${loadavg()[0].toFixed(1)}; the test's own process waited up to ${(delay.max / 1e6).toFixed(0)} ms`);
      lab.figure('hostile-press-to-muted-p50', quantile(presses.muted, 0.5), 'ms');
      lab.figure('hostile-press-to-muted-p95', quantile(presses.muted, 0.95), 'ms', { most: MUTED });
      // The promise is 100 ms for every press; one of them may meet a moment in which the test's own process waits.
      lab.figure('hostile-press-to-muted-max', Math.max(...presses.muted), 'ms', { most: 2 * MUTED });
      lab.figure('hostile-press-to-open-p95', quantile(presses.opened, 0.95), 'ms');
      lab.figure('hostile-presses-without-effect', presses.lost, 'presses', { most: 0 });
      for (const [name, each] of Object.entries(vitals)) {
        const { memory, descriptors } = each.end();
        lab.figure(`hostile-${name}-memory-growth`, memory.growth, 'MiB', { most: MEMORY });
        lab.figure(`hostile-${name}-descriptors-growth`, descriptors.growth, 'descriptors', { most: DESCRIPTORS });
      }
      const perMinute = (now, before) => ((now - before) * 60) / SECONDS;
      lab.figure('hostile-box-journal', perMinute(box.lines.length, lines.box), 'lines/min', { most: LINES_PER_MINUTE });
      lab.figure('hostile-hub-journal', perMinute(hub.lines.length, lines.hub), 'lines/min', { most: LINES_PER_MINUTE });
      lab.figure('hostile-bytes-back', (counts['back: bytes'] ?? 0) / SECONDS / 1000, 'kB/s');
      lab.figure('hostile-tcp-connections', counts['back: TCP connections'] ?? 0, 'connections', { most: 0 });

      // An attack that did not get in proves nothing.
      assert.ok(counts['calls connected'] >= 1, 'no call was connected');
      assert.ok(counts['handshakes kept open'] >= 1, 'no handshake was kept open');
      for (const layer of ['signaling', 'STUN', 'DTLS', 'handshake', 'SRTP', 'stranger']) {
        assert.ok(total(counts, `${layer}: `) > 10 * SECONDS, `hardly anything was sent at the layer ${layer}`);
      }
      // Nobody else is harmed afterwards either.
      const after = await box.until('the honest member is connected', ({ peers }) => peers.some(({ user_id: user, connection_state: state }) => user === guest.user && state === 'connected'));
      assert.equal(after.signaling.state, 'joined');
      await waitFor('no banner at the honest member', async () => (await guest.banner()) === '');
    } finally {
      await attacker?.close();
      // The members first, or they complain of the hub.
      await Promise.all(lab.guests.map((guest) => guest.close()));
      await Promise.all(lab.boxes.map((box) => box.stop()));
      await hub.close();
    }
  });
});
