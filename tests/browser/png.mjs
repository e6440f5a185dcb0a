// Reads the PNG pictures that the box gives (W3C PNG, third edition): 8 bits per channel, not interlaced.

import { inflateSync } from 'node:zlib';
import { CELLS, COLUMNS, readStrip } from './pages/strip.js';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const CHANNELS = { 0: 1, 2: 3, 4: 2, 6: 4 };

/**
 * @param {Buffer} bytes
 * @returns {{width: number, height: number, channels: number, pixels: Buffer}}
 */
export function decodePng(bytes) {
  if (!bytes.subarray(0, 8).equals(SIGNATURE)) throw new Error('not a PNG');
  let header = null;
  const data = [];
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (type === 'IHDR') header = body;
    if (type === 'IDAT') data.push(body);
    at += 12 + length;
  }
  const width = header.readUInt32BE(0);
  const height = header.readUInt32BE(4);
  const [depth, colour, , , interlace] = header.subarray(8);
  const channels = CHANNELS[colour];
  if (depth !== 8 || interlace !== 0 || !channels) throw new Error(`PNG of depth ${depth}, colour type ${colour}, interlace ${interlace}`);
  return { width, height, channels, pixels: unfilter(inflateSync(Buffer.concat(data)), width * channels, height, channels) };
}

function unfilter(raw, stride, height, channels) {
  const out = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y += 1) {
    const filter = raw[y * (stride + 1)];
    for (let x = 0; x < stride; x += 1) {
      const left = x >= channels ? out[y * stride + x - channels] : 0;
      const up = y > 0 ? out[(y - 1) * stride + x] : 0;
      const corner = y > 0 && x >= channels ? out[(y - 1) * stride + x - channels] : 0;
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
      out[y * stride + x] = raw[y * (stride + 1) + 1 + x] + guess;
    }
  }
  return out;
}

function paeth(left, up, corner) {
  const toLeft = Math.abs(up - corner);
  const toUp = Math.abs(left - corner);
  const toCorner = Math.abs(left + up - 2 * corner);
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

/**
 * What a picture shows: the strip of a test card, if there is one, and the mean brightness.
 * @param {Buffer} bytes a PNG
 */
export function readPicture(bytes) {
  const { width, height, channels, pixels } = decodePng(bytes);
  const luma = (x, y) => {
    const at = (Math.min(height - 1, Math.floor(y)) * width + Math.min(width - 1, Math.floor(x))) * channels;
    return channels < 3 ? pixels[at] : 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
  };
  const cell = width / COLUMNS;
  const around = [-0.15, 0, 0.15];
  const strip = width < CELLS ? null : readStrip((column, row) => {
    let sum = 0;
    for (const dx of around) for (const dy of around) sum += luma((column + 0.5 + dx) * cell, (row + 0.5 + dy) * cell);
    return sum / 9;
  });
  let brightness = 0;
  for (let y = 0; y < 9; y += 1) for (let x = 0; x < 16; x += 1) brightness += luma(((x + 0.5) * width) / 16, ((y + 0.5) * height) / 9);
  return { width, height, strip, brightness: brightness / 144 };
}
