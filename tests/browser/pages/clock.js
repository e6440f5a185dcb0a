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

/** The worklet that measures sound. */
export function newProbe(context) {
  return new AudioWorkletNode(context, 'probe', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
}

/** Relates an audio context's time to CLOCK_MONOTONIC. */
export class AudioClock {
  constructor(context) {
    this.context = context;
    this.leads = [];
    /** Seconds that a track is held back on its way into the context; a <video> does not have this delay. */
    this.tapDelay = 0;
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

  /** CLOCK_MONOTONIC in ms at which a track's sample that was probed at `contextTime` leaves the loudspeaker. */
  heardAt(contextTime) {
    const output = this.context.getOutputTimestamp();
    return monotonic(output.performanceTime + (contextTime - this.tapDelay - output.contextTime) * 1000);
  }

  /** Measures `tapDelay`: a short tone out of the context, through a track, back into the context. */
  measureTap() {
    const { context } = this;
    const oscillator = context.createOscillator();
    const gain = context.createGain();
    const destination = context.createMediaStreamDestination();
    gain.gain.value = 0;
    oscillator.connect(gain).connect(destination);
    oscillator.start();
    const source = context.createMediaStreamSource(destination.stream);
    const probe = newProbe(context);
    source.connect(probe);
    const begin = context.currentTime + 0.4;
    gain.gain.setValueAtTime(0.5, begin);
    oscillator.stop(begin + 0.1);
    return new Promise((resolve) => {
      probe.port.onmessage = ({ data: { onsets } }) => {
        if (onsets.length === 0) return;
        this.tapDelay = onsets[0] / context.sampleRate - begin;
        source.disconnect();
        gain.disconnect();
        resolve(this.tapDelay);
      };
    });
  }

  get ready() {
    return this.leads.length > 10;
  }
}
