// What a member receives from one other: a <video> that plays it as the application's page does, and
// the measurements on both its picture and its sound.

import { CELLS, COLUMNS, ROWS, age, readStrip } from './strip.js';
import { monotonic, newProbe } from './clock.js';

const PIXELS_PER_CELL = 4;
const KEPT_READINGS = 300;
const KEPT_WINDOWS = 3000;
const KEPT_ONSETS = 60;

/** One stream of one other member. */
export class Remote {
  constructor(audioClock) {
    this.audioClock = audioClock;
    this.video = document.createElement('video');
    this.video.autoplay = true;
    this.video.playsInline = true;
    this.video.width = 160;
    document.body.append(this.video);
    this.frames = 0;
    this.firstFrameAt = null;
    this.firstStripAt = null;
    this.readings = [];
    this.brightness = null;
    this.windows = [];
    this.onsets = [];
    this.strip = sampler(CELLS * PIXELS_PER_CELL, ROWS * PIXELS_PER_CELL);
    this.whole = sampler(16, 9);
    this.watchFrames();
  }

  /** Plays `stream`, in place of any earlier one. The same again brings another track: Chromium, told to load it anew, may show nothing. */
  play(stream) {
    if (this.stream !== stream) {
      this.stream = stream;
      this.video.srcObject = stream;
      this.video.play().catch(() => {});
    }
    if (stream.getAudioTracks().length > 0) this.listen(stream);
  }

  listen(stream) {
    const { context } = this.audioClock;
    this.source?.disconnect();
    this.source = context.createMediaStreamSource(stream);
    if (!this.analyser) {
      this.analyser = context.createAnalyser();
      this.analyser.fftSize = 8192;
      this.analyser.smoothingTimeConstant = 0;
      this.spectrum = new Float32Array(this.analyser.frequencyBinCount);
      this.probe = newProbe(context);
      this.probe.port.onmessage = ({ data }) => this.onSound(data);
    }
    this.source.connect(this.analyser);
    this.source.connect(this.probe);
  }

  onSound({ start, peaks, onsets }) {
    const { sampleRate } = this.audioClock.context;
    peaks.forEach((peak, index) => {
      this.windows.push([this.audioClock.heardAt((start + index * 480) / sampleRate), peak]);
    });
    for (const frame of onsets) this.onsets.push(this.audioClock.heardAt(frame / sampleRate));
    if (this.windows.length > KEPT_WINDOWS) this.windows.splice(0, this.windows.length - KEPT_WINDOWS);
    if (this.onsets.length > KEPT_ONSETS) this.onsets.shift();
  }

  watchFrames() {
    this.video.requestVideoFrameCallback((_now, metadata) => {
      if (this.closed) return;
      this.onFrame(metadata);
      this.watchFrames();
    });
  }

  onFrame(metadata) {
    const shownAt = monotonic(metadata.expectedDisplayTime);
    const { videoWidth: width, videoHeight: height } = this.video;
    this.frames += 1;
    this.firstFrameAt ??= shownAt;
    const cell = width / COLUMNS;
    this.strip.draw(this.video, CELLS * cell, ROWS * cell);
    this.whole.draw(this.video, width, height);
    this.brightness = this.whole.brightness();
    const reading = readStrip((column, row) => this.strip.luma((column + 0.5) * PIXELS_PER_CELL, (row + 0.5) * PIXELS_PER_CELL));
    if (!reading) return;
    this.firstStripAt ??= shownAt;
    this.readings.push({ ...reading, shownAt, latency: age(reading.capturedAt, shownAt) });
    if (this.readings.length > KEPT_READINGS) this.readings.shift();
  }

  /** Everything measured, as plain data. */
  read() {
    return {
      picture: {
        frames: this.frames,
        width: this.video.videoWidth,
        height: this.video.videoHeight,
        firstFrameAt: this.firstFrameAt,
        firstStripAt: this.firstStripAt,
        brightness: this.brightness,
        counter: this.readings.at(-1)?.counter ?? null,
        newest: this.readings.at(-1) ?? null,
      },
      sound: this.readSound(),
    };
  }

  readSound() {
    if (!this.analyser) return null;
    this.analyser.getFloatFrequencyData(this.spectrum);
    let best = 0;
    for (let bin = 1; bin < this.spectrum.length; bin += 1) if (this.spectrum[bin] > this.spectrum[best]) best = bin;
    const width = this.audioClock.context.sampleRate / this.analyser.fftSize;
    return {
      frequency: this.spectrum[best] > -100 ? best * width : 0,
      strength: Math.max(this.spectrum[best], -200),
      peak: Math.max(0, ...this.windows.slice(-10).map(([, peak]) => peak)),
      onsets: this.onsets.slice(-5),
    };
  }

  close() {
    this.closed = true;
    this.source?.disconnect();
    this.video.srcObject = null;
    this.video.remove();
  }
}

// A small canvas that a part of the video is drawn into and read from.
function sampler(width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true, alpha: false });
  let pixels = null;
  const luma = (x, y) => {
    const at = (Math.floor(y) * width + Math.floor(x)) * 4;
    return 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
  };
  return {
    draw(video, sourceWidth, sourceHeight) {
      context.drawImage(video, 0, 0, sourceWidth, sourceHeight, 0, 0, width, height);
      pixels = context.getImageData(0, 0, width, height).data;
    },
    luma,
    brightness() {
      let sum = 0;
      for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) sum += luma(x, y);
      return sum / (width * height);
    },
  };
}
