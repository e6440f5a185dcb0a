// A recording that sounds like speech to an encoder, yet never pauses: vowels and hisses take turns. In-band FEC
// protects what its voice detection takes for speech; a steady sound soon counts as noise, and a pause would look like
// a mute to the test.

const RATE = 48_000;
const SYLLABLE = 0.16;
const SYLLABLES = 12;
const LEVEL = 16_000;
const FORMANTS = [[500, 90], [1100, 110]];

/** A WAV file, mono, 16 bit, 48 kHz. */
export function voice() {
  const length = Math.round(RATE * SYLLABLE);
  const data = Buffer.alloc(2 * length * SYLLABLES);
  for (let syllable = 0; syllable < SYLLABLES; syllable += 1) {
    const sound = syllable % 2 === 0 ? vowel(length, 120 + 5 * syllable) : hiss(length);
    const peak = sound.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    sound.forEach((value, i) => data.writeInt16LE(Math.round((value / peak) * LEVEL), 2 * (syllable * length + i)));
  }
  return Buffer.concat([header(data.length), data]);
}

// Glottal pulses through the resonances of a mouth.
function vowel(length, pitch) {
  const period = Math.round(RATE / pitch);
  const pulses = Float64Array.from({ length }, (_, i) => (i % period === 0 ? 1 : 0));
  const [first, second] = FORMANTS.map(([frequency, width]) => resonate(pulses, frequency, width));
  return first.map((value, i) => value + second[i]);
}

function hiss(length) {
  let state = 1;
  const noise = Float64Array.from({ length }, () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 30 - 1;
  });
  return resonate(noise, 5500, 2500);
}

// A two-pole resonator.
function resonate(input, frequency, width) {
  const radius = Math.exp((-Math.PI * width) / RATE);
  const turn = 2 * radius * Math.cos((2 * Math.PI * frequency) / RATE);
  const output = new Float64Array(input.length);
  for (let i = 0; i < input.length; i += 1) {
    output[i] = input[i] + turn * (output[i - 1] ?? 0) - radius * radius * (output[i - 2] ?? 0);
  }
  return output;
}

function header(length) {
  const bytes = Buffer.alloc(44);
  bytes.write('RIFF', 0);
  bytes.writeUInt32LE(36 + length, 4);
  bytes.write('WAVEfmt ', 8);
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(RATE, 24);
  bytes.writeUInt32LE(RATE * 2, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write('data', 36);
  bytes.writeUInt32LE(length, 40);
  return bytes;
}
