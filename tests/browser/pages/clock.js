// Three clocks meet in a page: performance.now(), the machine's CLOCK_MONOTONIC (the box stamps with it,
// and so does node's process.hrtime), and the audio context's sample time.

/** Milliseconds to add to performance.now() to get CLOCK_MONOTONIC; the harness measures it. */
let offset = 0;

export function setMonotonicOffset(milliseconds) {
  offset = milliseconds;
}

/** CLOCK_MONOTONIC in milliseconds. */
export function monotonic(performanceTime = performance.now()) {
  return performanceTime + offset;
}

const KEPT = 100;

/** Relates an audio context's time to CLOCK_MONOTONIC. */
export class AudioClock {
  constructor(context) {
    this.context = context;
    this.leads = [];
    this.timer = setInterval(() => this.observe(), 20);
  }

  // The context renders in batches, so its time runs in steps. Right after a batch it is furthest ahead of
  // the wall clock; by that reading a sample is spoken one batch before it is handed on, as a real
  // microphone would have it.
  observe() {
    if (this.context.state !== 'running') return;
    this.leads.push(this.context.currentTime * 1000 - monotonic());
    if (this.leads.length > KEPT) this.leads.shift();
  }

  /** Seconds of the context at which a sample spoken at `time` (CLOCK_MONOTONIC, ms) is rendered. */
  contextTime(time) {
    return (time + Math.max(...this.leads)) / 1000;
  }

  /** CLOCK_MONOTONIC in ms at which the sample rendered at `contextTime` leaves the loudspeaker. */
  heardAt(contextTime) {
    const output = this.context.getOutputTimestamp();
    return monotonic(output.performanceTime + (contextTime - output.contextTime) * 1000);
  }

  get ready() {
    return this.leads.length > 10;
  }
}
