// The machine-readable corner of a test card, written and read in one place: the pages draw it into their
// camera pictures and read it from a <video>; the harness reads it from the box's PNG.
//
// A cell is width/40 pixels. Row 0 holds the frame counter, row 1 the low 32 bits of the capture time in
// milliseconds of CLOCK_MONOTONIC: cell 0 white, cell 1 black, cells 2..33 the bits (most significant
// first, white = 1), cell 34 white, cell 35 black. A square over cells 0..3 of rows 3..6 is white during
// the first 100 ms of each whole second of that clock.

/** Cells across the picture's whole width. */
export const COLUMNS = 40;
/** Cells that one strip uses. */
export const CELLS = 36;
/** Rows of cells that the strips and the flash square use. */
export const ROWS = 7;
/** How long the flash square is white in each second, ms. */
export const FLASH = 100;

const BITS = 32;
const MARKERS = [[0, true], [1, false], [34, true], [35, false]];

/**
 * Reads both strips and the square.
 * @param {(column: number, row: number) => number} luma brightness 0..255 in the middle of a cell
 * @returns {{counter: number, capturedAt: number, flash: boolean} | null} null where there is no strip
 */
export function readStrip(luma) {
  const counter = readRow(luma, 0);
  const capturedAt = readRow(luma, 1);
  if (counter === null || capturedAt === null) return null;
  return { counter, capturedAt, flash: luma(2, 5) > 127 };
}

function readRow(luma, row) {
  const white = (luma(0, row) + luma(34, row)) / 2;
  const black = (luma(1, row) + luma(35, row)) / 2;
  if (white - black < 80) return null;
  const middle = (white + black) / 2;
  if (MARKERS.some(([cell, lit]) => luma(cell, row) > middle !== lit)) return null;
  let value = 0;
  for (let bit = 0; bit < BITS; bit += 1) value = value * 2 + (luma(2 + bit, row) > middle ? 1 : 0);
  return value;
}

/**
 * Draws both strips and the square.
 * @param {(column: number, row: number, columns: number, rows: number, white: boolean) => void} fill
 * @param {number} counter
 * @param {number} monotonic milliseconds of CLOCK_MONOTONIC
 */
export function drawStrip(fill, counter, monotonic) {
  drawRow(fill, 0, counter);
  drawRow(fill, 1, Math.floor(monotonic) % 2 ** BITS);
  fill(0, 3, 4, 4, monotonic % 1000 < FLASH);
}

function drawRow(fill, row, value) {
  for (const [cell, lit] of MARKERS) fill(cell, row, 1, 1, lit);
  for (let bit = 0; bit < BITS; bit += 1) {
    fill(2 + bit, row, 1, 1, Math.floor(value / 2 ** (BITS - 1 - bit)) % 2 === 1);
  }
}

/**
 * Milliseconds from a capture time read from a strip to `now`.
 * @param {number} capturedAt low 32 bits
 * @param {number} now milliseconds of CLOCK_MONOTONIC
 */
export function age(capturedAt, now) {
  const wrapped = (now - capturedAt) % 2 ** BITS;
  return wrapped > 2 ** (BITS - 1) ? wrapped - 2 ** BITS : wrapped;
}
