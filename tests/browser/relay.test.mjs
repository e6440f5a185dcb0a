// STUN and TURN over UDP, with coturn: boxes that may use nothing but relayed candidates see and hear each other.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { suite } from './harness.mjs';
import { waitFor } from './wait.mjs';

const USER = 'room';
const PASSWORD = 'correct horse battery';
const REALM = 'huddled.test';
const VIDEO = { width: 320, height: 180, frame_rate: 10, bitrate: 150_000 };

async function freePort() {
  const socket = createSocket('udp4');
  await new Promise((done) => socket.bind(0, '127.0.0.1', done));
  const { port } = socket.address();
  await new Promise((done) => socket.close(done));
  return port;
}

async function startTurnServer() {
  const port = await freePort();
  const child = spawn('turnserver', [
    '-n', '--no-cli', '--no-tls', '--no-dtls', '--no-tcp', '--log-file', 'stdout', '--simple-log', '--pidfile', '',
    '--listening-ip', '127.0.0.1', '--relay-ip', '127.0.0.1', '--listening-port', String(port), '--allow-loopback-peers',
    '--lt-cred-mech', '--user', `${USER}:${PASSWORD}`, '--realm', REALM, '--verbose',
  ], { stdio: ['ignore', 'pipe', 'pipe'] });
  const lines = [];
  let failure = null;
  child.once('error', (error) => { failure = error; });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => lines.push(String(data)));
  // A binding request (RFC 8489, 6): answered as soon as the server stands.
  const probe = createSocket('udp4');
  let answered = false;
  probe.on('message', () => { answered = true; });
  const request = Buffer.from('000100002112a442000102030405060708090a0b', 'hex');
  await waitFor('coturn answers', () => {
    if (failure) throw Object.assign(failure, { fatal: true });
    probe.send(request, port, '127.0.0.1');
    return answered;
  }, { within: 10_000, every: 100, state: () => lines.join('').slice(-2000) });
  probe.close();
  return {
    port,
    lines,
    close: () => new Promise((done) => {
      child.once('exit', done);
      child.kill('SIGKILL');
    }),
  };
}

function relayed(port) {
  return {
    video: VIDEO,
    extra: `[ice]
relay_only = true

[[ice_servers]]
urls = ["turn:127.0.0.1:${port}?transport=udp"]
username = "${USER}"
credential_file = "turn-password"
`,
  };
}

async function relayedBox(lab, port, password, options) {
  const box = lab.prepareBox({ ...relayed(port), ...options });
  box.give('turn-password', `${password}\n`);
  return box.start();
}

suite('relay', (scenario) => {
  scenario('two boxes that may only be relayed see and hear each other through coturn', async (lab) => {
    const turn = await startTurnServer();
    try {
      const one = await relayedBox(lab, turn.port, PASSWORD, { id: '1', microphone: 'sim:tone:440' });
      const two = await relayedBox(lab, turn.port, PASSWORD, { id: 'e', microphone: 'sim:tone:660' });
      await one.untilConnected(two.user, 30_000);
      await waitFor('a picture of the other box', async () => (await one.picture(two.user))?.strip, { within: 15_000 });
      await waitFor('the other box is heard', async () => Math.abs((await one.health()).peers_in[0]?.audio.frequency_hz - 660) < 10, { within: 15_000 });
      // What coturn counted: without allocations and permissions nothing of the above went through it.
      const log = turn.lines.join('');
      assert.match(log, /ALLOCATE processed, success/);
      assert.match(log, /CHANNEL_BIND processed, success|CREATE_PERMISSION processed, success/);
      for (const box of [one, two]) assert.ok(!box.lines.some((line) => line.includes(PASSWORD)), 'the password is in a log');
    } finally {
      await turn.close();
    }
  }, { slow: true });

  scenario('a box with a wrong TURN password is not connected, and the other members are', async (lab) => {
    const turn = await startTurnServer();
    try {
      const good = await lab.box({ id: '1', video: VIDEO });
      const other = await lab.box({ id: '2', video: VIDEO });
      await good.untilConnected(other.user);
      const wrong = await relayedBox(lab, turn.port, 'wrong', { id: 'e' });
      await wrong.untilJoined();
      await waitFor('coturn refuses', () => /error 401|Unauthorized/i.test(turn.lines.join('')), { within: 15_000 });
      const status = await wrong.status();
      assert.equal(status.connected_peers, 0);
      assert.ok((await good.status()).peers.some((peer) => peer.user_id === other.user && peer.connection_state === 'connected'));
    } finally {
      await turn.close();
    }
  }, { slow: true });
});
