// Measures what is heard, sample by sample: the peak of every 10 ms, and the moments at which sound rises
// out of silence. Times are sample frames of the audio context.

const WINDOW = 480;
const WINDOWS_PER_REPORT = 5;
const LOUD = 0.01;
const QUIET_BEFORE_ONSET = 9600;

class Probe extends AudioWorkletProcessor {
  constructor() {
    super();
    this.quiet = 0;
    this.peak = 0;
    this.filled = 0;
    this.reset(0);
  }

  reset(frame) {
    this.start = frame;
    this.peaks = [];
    this.onsets = [];
  }

  process(inputs) {
    const samples = inputs[0][0];
    for (let i = 0; i < 128; i += 1) {
      const level = samples ? Math.abs(samples[i]) : 0;
      if (level > LOUD) {
        if (this.quiet >= QUIET_BEFORE_ONSET) this.onsets.push(currentFrame + i);
        this.quiet = 0;
      } else {
        this.quiet += 1;
      }
      if (level > this.peak) this.peak = level;
      this.filled += 1;
      if (this.filled === WINDOW) this.closeWindow(currentFrame + i + 1);
    }
    return true;
  }

  closeWindow(end) {
    if (this.peaks.length === 0) this.start = end - WINDOW;
    this.peaks.push(this.peak);
    this.peak = 0;
    this.filled = 0;
    if (this.peaks.length < WINDOWS_PER_REPORT) return;
    this.port.postMessage({ start: this.start, peaks: this.peaks, onsets: this.onsets });
    this.reset(end);
  }
}

registerProcessor('probe', Probe);
