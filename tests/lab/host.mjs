// What the guest need not do itself, because emulation is slow: the signaling server, and looking at pictures and sound.
//
//   node host.mjs FOLDER
//     prints {"port":N}. For each FOLDER/NAME.ask, `FILE colourful|slate`, `FILE tone HZ CHANNELS` or
//     `FILE steady HZ CHANNELS SECONDS BREAKS`, it writes FOLDER/NAME.answer: "yes" or "no" and what was seen.
//     `FILE start|health|stop` is for a box B on this machine, of FOLDER/../bin; `FILE heard QUESTION` asks of what
//     it has heard.

import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { startGateway } from '../browser/gateway.mjs';
import { decodePng } from '../browser/png.mjs';

const folder = process.argv[2];
const POLL = 50;

function tone(bytes, hertz, channels) {
  // Zero crossings of the first channel's second half: the beginning may be silence.
  const samples = [];
  for (let at = 0; at + 1 < bytes.length; at += 2 * channels) samples.push(bytes.readInt16LE(at));
  const tail = samples.slice(samples.length / 2);
  let crossings = 0;
  let jumps = 0;
  const peak = Math.max(...tail.map(Math.abs));
  for (let n = 1; n < tail.length; n += 1) {
    if (tail[n - 1] < 0 !== tail[n] < 0) crossings += 1;
    if (Math.abs(tail[n] - tail[n - 1]) > peak / 2) jumps += 1;
  }
  const frequency = (crossings * 48000) / (2 * tail.length);
  const seen = `peak ${peak}, ${frequency.toFixed(1)} Hz, ${jumps} jumps in ${(tail.length / 48000).toFixed(2)} s`;
  return [peak > 1000 && Math.abs(frequency - hertz) < hertz / 20, seen];
}

// A tone that must go on without a break: 10 ms pieces of the last SECONDS are compared with a tone of the frequency
// that the whole has. Its phase may move as two clocks do that follow each other, and its strength not at all. What
// breaks within 5 s is one break: a gap is followed by the change of delay that it caused; what goes on for longer is
// several. Some have causes that are known.
function steady(bytes, hertz, channels, seconds, known) {
  const rate = 48000;
  const piece = rate / 100;
  const frames = Math.floor(bytes.length / (2 * channels));
  // Without the last second, in which it ends.
  const last = frames - rate;
  const first = Math.max(0, last - seconds * rate);
  const count = Math.floor((last - first) / piece);
  const phases = [];
  const strengths = [];
  const turn = (2 * Math.PI * hertz) / rate;
  for (let n = 0; n < count; n += 1) {
    let [sine, cosine] = [0, 0];
    for (let k = 0; k < piece; k += 1) {
      const at = n * piece + k;
      // The header of a WAV file is as long as 22 samples: it moves the phase, which is compared with itself.
      const sample = bytes.readInt16LE(2 * channels * (first + at));
      const hann = 1 - Math.cos((2 * Math.PI * k) / piece);
      sine += hann * sample * Math.sin(turn * at);
      cosine += hann * sample * Math.cos(turn * at);
    }
    phases.push(Math.atan2(cosine, sine));
    strengths.push(Math.hypot(sine, cosine) / piece);
  }
  const moved = [];
  for (let n = 1; n < count; n += 1) {
    let step = phases[n] - phases[n - 1];
    step -= 2 * Math.PI * Math.round(step / (2 * Math.PI));
    moved.push(step);
  }
  const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
  const mean = moved.reduce((a, b) => a + b, 0) / Math.max(1, moved.length);
  const usual = median(strengths) || 0;
  const breaks = [];
  for (let n = 1; n < count; n += 1) {
    const jumps = Math.abs(moved[n - 1] - mean) > 0.15;
    const fades = Math.abs(strengths[n] - usual) > usual / 5;
    if (!jumps && !fades) continue;
    const at = n / 100;
    if (at - breaks.at(-1)?.from < 5) breaks.at(-1).to = at;
    else breaks.push({ from: at, to: at });
  }
  const ppm = (mean / (2 * Math.PI * hertz * 0.01)) * 1e6;
  const places = breaks.slice(0, 8).map(({ from, to }) => `${from.toFixed(2)} to ${to.toFixed(2)} s`).join(', ');
  const seen = `${(count / 100).toFixed(0)} s at ${hertz} Hz ${ppm >= 0 ? '+' : '-'} ${Math.abs(ppm).toFixed(0)} ppm, strength ${usual.toFixed(0)}, largest move of phase in 10 ms ${Math.max(...moved.map((m) => Math.abs(m - mean))).toFixed(3)} rad, ${breaks.length} breaks of at most ${known}${places && `: ${places}`}`;
  return [usual > 500 && count >= (seconds - 1) * 99 && breaks.length <= known, seen];
}

function picture(bytes, what) {
  const { width, height, channels, pixels } = decodePng(bytes);
  const colours = new Set();
  let dark = 0;
  let bright = 0;
  for (let at = 0; at < pixels.length; at += channels) {
    const [r, g, b] = pixels.subarray(at, at + 3);
    colours.add(((r >> 6) << 4) | ((g >> 6) << 2) | (b >> 6));
    if (Math.max(r, g, b) < 40) dark += 1;
    if (Math.min(r, g, b) > 180) bright += 1;
  }
  const share = (count) => count / (width * height);
  const seen = `${width}x${height}, ${colours.size} colours, ${(100 * share(dark)).toFixed(1)} % dark, ${(100 * share(bright)).toFixed(1)} % bright`;
  const good = what === 'slate' ? share(dark) > 0.8 && bright > 100 && colours.size < 12 : colours.size >= 12 && share(dark) < 0.6;
  return [good, seen];
}

const home = resolve(folder, '../b');
let box;

async function start() {
  await rm(home, { recursive: true, force: true });
  await mkdir(home);
  await writeFile(join(home, 'config.toml'), `
[box]
name = "Box b"
[control]
socket = "${home}/control.sock"
[signaling]
url = "http://127.0.0.1:${gateway.port}"
meeting = "00000000-0000-4000-8000-00000000000f"
user = "00000000-0000-4000-8000-00000000000b"
[microphone]
device = "sim:tone:880"
[speaker]
device = "sim:wav:heard.wav"
[video]
width = 320
height = 180
frame_rate = 1
`);
  const log = await open(resolve(folder, '../logs/b'), 'a');
  box = spawn(resolve(folder, '../bin/huddled'), ['run', '--config', join(home, 'config.toml'), '--state-dir', join(home, 'state'), '--allow-sim'],
    { stdio: ['ignore', log.fd, log.fd] });
  await log.close();
  return [box.pid !== undefined, `box B is process ${box.pid}`];
}

async function health() {
  const { stdout } = await promisify(execFile)(resolve(folder, '../bin/huddlectl'), ['--socket', `${home}/control.sock`, '--json', 'health']);
  return [true, `health: ${JSON.stringify(JSON.parse(stdout))}`];
}

async function stop() {
  box.kill();
  const code = box.exitCode ?? (await new Promise((done) => box.once('exit', done)));
  return [code === 0, `exit ${code}`];
}

process.on('exit', () => box?.kill());
process.on('SIGTERM', () => process.exit());

async function answer(name) {
  let [file, what, ...rest] = (await readFile(join(folder, name), 'utf8')).trim().split(' ');
  const orders = { start, health, stop };
  if (orders[what]) {
    const [good, seen] = await orders[what]();
    return `${good ? 'yes' : 'no'} ${seen}\n`;
  }
  if (what === 'heard') [file, what, ...rest] = ['../b/heard.wav', ...rest];
  const bytes = await readFile(join(folder, file));
  const judges = { tone, steady };
  const [good, seen] = judges[what] ? judges[what](bytes, ...rest.map(Number)) : picture(bytes, what);
  return `${good ? 'yes' : 'no'} ${seen}\n`;
}

const gateway = await startGateway({ port: 0, openMeeting: true, duplicates: false });
console.log(JSON.stringify({ port: gateway.port }));
for (;;) {
  for (const name of await readdir(folder)) {
    const path = join(folder, name.replace(/\.ask$/, '.answer'));
    if (!name.endsWith('.ask') || existsSync(path)) continue;
    const text = await answer(name).catch((error) => `no ${error.message}\n`);
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
  }
  await new Promise((done) => setTimeout(done, POLL));
}
