// What a member sends: a canvas as camera, an oscillator as microphone, so that the other end can tell
// whose picture and sound it has, and how old they are.

import { COLUMNS, drawStrip } from './strip.js';
import { monotonic } from './clock.js';

/** A moving picture with the machine-readable strip. */
export class CanvasCamera {
  constructor({ width, height, frameRate, hue }) {
    this.canvas = document.createElement('canvas');
    this.canvas.width = width;
    this.canvas.height = height;
    document.body.append(this.canvas);
    this.hue = hue;
    this.counter = 0;
    this.context = this.canvas.getContext('2d', { alpha: false, willReadFrequently: true });
    this.draw();
    this.stream = this.canvas.captureStream();
    [this.track] = this.stream.getVideoTracks();
    this.timer = setInterval(() => this.draw(), 1000 / frameRate);
  }

  draw() {
    const { context, canvas } = this;
    const { width, height } = canvas;
    const cell = Math.floor(width / COLUMNS);
    context.fillStyle = `hsl(${this.hue} 70% 40%)`;
    context.fillRect(0, 0, width, height);
    context.fillStyle = `hsl(${(this.hue + 120) % 360} 80% 70%)`;
    const x = ((this.counter * 7) % (width + 60)) - 60;
    context.fillRect(x, height * 0.55, 60, height * 0.35);
    drawStrip((column, row, columns, rows, white) => {
      context.fillStyle = white ? '#fff' : '#000';
      context.fillRect(column * cell, row * cell, columns * cell, rows * cell);
    }, this.counter, monotonic());
    this.counter += 1;
  }

  stop() {
    clearInterval(this.timer);
    this.track.stop();
    this.canvas.remove();
  }
}

/** How long a phrase of `speech` lasts, s. */
const PHRASE = 0.4;

/** A steady tone, or one phrase at each whole second of CLOCK_MONOTONIC. */
export class OscillatorMicrophone {
  constructor(audioClock, { kind, frequency }) {
    const { context } = audioClock;
    this.audioClock = audioClock;
    this.destination = context.createMediaStreamDestination();
    this.destination.channelCount = 1;
    this.oscillator = context.createOscillator();
    this.oscillator.frequency.value = frequency;
    this.gain = context.createGain();
    this.gain.gain.value = kind === 'tone' ? 0.5 : 0;
    this.oscillator.connect(this.gain).connect(this.destination);
    this.oscillator.start();
    [this.track] = this.destination.stream.getAudioTracks();
    if (kind === 'speech') {
      this.scheduled = 0;
      this.timer = setInterval(() => this.schedule(), 100);
    }
  }

  schedule() {
    if (!this.audioClock.ready) return;
    const second = Math.ceil((monotonic() + 250) / 1000);
    if (second <= this.scheduled) return;
    this.scheduled = second;
    const at = this.audioClock.contextTime(second * 1000);
    this.gain.gain.setValueAtTime(0.5, at);
    this.gain.gain.setValueAtTime(0, at + PHRASE);
  }

  stop() {
    clearInterval(this.timer);
    this.oscillator.stop();
    this.track.stop();
  }
}
