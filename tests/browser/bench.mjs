// Figures of the whole daemon, for docs/benchmarks.md: `make bench` runs this on the optimised binary.
// CPU and memory come from /proc; every figure that is compared comes from one run.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Box } from './box.mjs';
import { startGateway } from './gateway.mjs';
import { fromWall, median, monotonic, observe, waitFor } from './wait.mjs';

/** Milliseconds of CPU per frame of the bare codec on the same test card, from `cargo bench --bench encode`. */
const BARE_CODEC_MS = Number(process.env.BARE_CODEC_MS);
const STARTS = 7;
const MEASURE_MS = 15_000;
const FULL = { width: 1280, height: 720, frame_rate: 30, bitrate: 1_500_000 };
const TINY = { width: 160, height: 90, frame_rate: 5, bitrate: 60_000 };
const CLOCK_TICKS = 100;

const gateway = await startGateway({ openMeeting: true });
const directory = await mkdtemp(join(tmpdir(), 'huddled-bench-'));
const boxes = [];
let started = 0;

async function box(options) {
  // A folder of its own for each: a box that finds another meeting in its state starts muted and camera off.
  started += 1;
  const made = new Box({ directory: join(directory, `box${started}`), url: gateway.url, user: randomUUID(), speaker: 'sim:meter', ...options });
  boxes.push(made);
  await made.start();
  return made;
}

async function stopAll() {
  await Promise.all(boxes.splice(0).map((made) => made.stop()));
  gateway.forget();
}

function cpuMilliseconds({ process: { pid } }) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / CLOCK_TICKS;
}

function residentKilobytes({ process: { pid } }) {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
}

function figure(name, value, unit) {
  console.log(`${name.padEnd(58)} ${value.toFixed(2).padStart(9)} ${unit}`);
}

async function startToJoined() {
  const times = [];
  for (let start = 0; start < STARTS; start += 1) {
    const made = await box({ meeting: randomUUID(), video: TINY });
    const told = await waitFor('the server was told the state, which only a joined box does', () => gateway.received({ user: made.user, event: 'media:toggle-mic' })[0]);
    times.push(fromWall(told.at) - made.startedAt);
    await stopAll();
  }
  figure(`process start to joined, median of ${STARTS}`, median(times), 'ms');
  figure('process start to joined, slowest', Math.max(...times), 'ms');
}

async function wholeDaemon() {
  for (const peers of [1, 3]) {
    const meeting = randomUUID();
    const subject = await box({ meeting, video: FULL, user: `8${randomUUID().slice(1)}` });
    const others = [];
    for (let index = 0; index < peers; index += 1) others.push(await box({ meeting, video: TINY }));
    for (const other of others) await subject.untilConnected(other.user);
    const before = { cpu: cpuMilliseconds(subject), at: monotonic(), ...(await subject.frames()) };
    await observe(MEASURE_MS);
    const after = { cpu: cpuMilliseconds(subject), at: monotonic(), ...(await subject.frames()) };
    const frames = after.encoded - before.encoded;
    const perFrame = (after.cpu - before.cpu) / frames;
    figure(`whole daemon, ${peers} peer(s): frames captured`, after.captured - before.captured, 'frames');
    figure(`whole daemon, ${peers} peer(s): frames encoded`, frames, 'frames');
    figure(`whole daemon, ${peers} peer(s): CPU`, (100 * (after.cpu - before.cpu)) / (after.at - before.at), '% of a core');
    figure(`whole daemon, ${peers} peer(s): CPU per frame`, perFrame, 'ms');
    if (BARE_CODEC_MS > 0) figure(`whole daemon, ${peers} peer(s): ratio to the bare codec`, perFrame / BARE_CODEC_MS, '');
    await stopAll();
  }
}

async function memoryPerPeer() {
  const meeting = randomUUID();
  const subject = await box({ meeting, video: FULL });
  await subject.untilJoined();
  await observe(3000);
  const alone = residentKilobytes(subject);
  figure('memory, alone', alone / 1024, 'MiB');
  let last = alone;
  for (const peers of [1, 2, 3, 4]) {
    const other = await box({ meeting, video: TINY });
    await subject.untilConnected(other.user);
    await observe(3000);
    last = residentKilobytes(subject);
    figure(`memory, ${peers} peer(s)`, last / 1024, 'MiB');
  }
  figure('memory per peer', (last - alone) / 1024 / 4, 'MiB');
  await stopAll();
}

try {
  await startToJoined();
  await wholeDaemon();
  await memoryPerPeer();
} finally {
  await stopAll();
  await gateway.close();
  await rm(directory, { recursive: true, force: true });
}
