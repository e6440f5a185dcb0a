// Looks at what arrived: `look.mjs PICTURE.png colourful|slate`, `look.mjs SOUND.raw tone HZ CHANNELS`. Exit 0: it is so.

import { readFile } from 'node:fs/promises';
import { decodePng } from '../browser/png.mjs';

const [file, what, ...rest] = process.argv.slice(2);
const bytes = await readFile(file);
let good;
if (what === 'tone') {
  // Zero crossings of the first channel's second half: the beginning may be silence.
  const [hertz, channels] = rest.map(Number);
  const samples = [];
  for (let at = 0; at + 1 < bytes.length; at += 2 * channels) samples.push(bytes.readInt16LE(at));
  const tail = samples.slice(samples.length / 2);
  let crossings = 0;
  for (let n = 1; n < tail.length; n += 1) if (tail[n - 1] < 0 !== tail[n] < 0) crossings += 1;
  const frequency = (crossings * 48000) / (2 * tail.length);
  const peak = Math.max(...tail.map(Math.abs));
  let jumps = 0;
  for (let n = 1; n < tail.length; n += 1) if (Math.abs(tail[n] - tail[n - 1]) > peak / 2) jumps += 1;
  console.log(`peak ${peak}, ${frequency.toFixed(1)} Hz, ${jumps} jumps in ${(tail.length / 48000).toFixed(2)} s`);
  good = peak > 1000 && Math.abs(frequency - hertz) < 15;
} else {
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
  console.log(`${width}x${height}, ${colours.size} colours, ${(100 * share(dark)).toFixed(1)} % dark, ${(100 * share(bright)).toFixed(1)} % bright`);
  good = what === 'slate' ? share(dark) > 0.8 && bright > 100 && colours.size < 12 : colours.size >= 12 && share(dark) < 0.6;
}
process.exit(good ? 0 : 1);
