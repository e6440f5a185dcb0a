// The guest page in Chromium as a person uses it, and measurements on what it shows and plays.

import { CELLS, COLUMNS, ROWS, readStrip } from './pages/strip.js';
import { waitFor } from './wait.mjs';

const PIXELS_PER_CELL = 4;

export class GuestPage {
  /**
   * A browser of its own for one person; `enter` opens the link, says the name and presses Join.
   * @param {import('playwright-core').Browser} browser
   * @param {string} link
   * @param {{name?: string, width?: number, height?: number, permissions?: string[], scheme?: 'light' | 'dark'}} options
   */
  static async open(browser, link, { name = 'Ada', width = 1000, height = 640, permissions = ['camera', 'microphone'], scheme = 'light' } = {}) {
    const context = await browser.newContext({ viewport: { width, height }, permissions, colorScheme: scheme, ignoreHTTPSErrors: true });
    const page = await context.newPage();
    const guest = new GuestPage(context, page);
    guest.link = link;
    guest.name = name;
    return guest;
  }

  async enter() {
    await this.page.goto(this.link);
    await this.page.fill('#name', this.name);
    return this.join();
  }

  constructor(context, page) {
    this.context = context;
    this.page = page;
    this.console = [];
    page.on('console', (message) => this.console.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => this.console.push(`pageerror: ${error.stack ?? error}`));
  }

  async join() {
    await this.page.click('#join');
    const { userId } = await this.until('joined', ({ joined }) => joined);
    this.user = userId;
    return this;
  }

  /** Everything `window.huddled.read` says. */
  read() {
    return this.page.evaluate(() => window.huddled.read());
  }

  /** Waits until what `read` says fulfils `condition`; returns that reading. */
  until(what, condition, within = 15_000) {
    return waitFor(`guest ${this.user ?? ''}: ${what}`, async () => {
      const state = await this.read();
      return (await condition(state)) && state;
    }, { within, state: () => this.read() });
  }

  untilConnected(user, within) {
    return this.until(`connected to ${user}`, ({ peers }) => peers[user]?.connectionState === 'connected', within);
  }

  /** What the test card on a member's tile says, or null: {counter, capturedAt, flash}. */
  async picture(user) {
    const lumas = await this.page.evaluate(([id, columns, cells, rows, pixels]) => {
      const video = document.querySelector(`.tile[data-user="${CSS.escape(id)}"] video`);
      if (!video?.videoWidth) return null;
      const canvas = new OffscreenCanvas(cells * pixels, rows * pixels);
      const context = canvas.getContext('2d', { willReadFrequently: true });
      const cell = video.videoWidth / columns;
      context.drawImage(video, 0, 0, cells * cell, rows * cell, 0, 0, canvas.width, canvas.height);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      return Array.from({ length: cells * rows }, (_, index) => {
        const x = ((index % cells) + 0.5) * pixels;
        const y = (Math.floor(index / cells) + 0.5) * pixels;
        const at = (Math.floor(y) * canvas.width + Math.floor(x)) * 4;
        return 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
      });
    }, [user, COLUMNS, CELLS, ROWS, PIXELS_PER_CELL]);
    return lumas && readStrip((column, row) => lumas[row * CELLS + column]);
  }

  /** Waits for a member's test card whose counter goes on. */
  async untilTestCard(user, within = 15_000) {
    const first = await waitFor(`a test card of ${user}`, () => this.picture(user), { within, state: () => this.read() });
    return waitFor(`the test card of ${user} goes on`, async () => (await this.picture(user))?.counter > first.counter + 3, { within, state: () => this.read() });
  }

  /** Waits for frames of a member's camera beyond those shown so far. */
  async untilFrames(user, within = 15_000) {
    const before = (await this.read()).peers[user]?.video?.frames ?? 0;
    return this.until(`new frames of ${user}`, ({ peers }) => peers[user]?.video?.frames > before + 3, within);
  }

  /** The loudest sample of the next `milliseconds` of what a member's tile plays. */
  peak(user, milliseconds = 400) {
    return this.page.evaluate(async ([id, span]) => {
      const stream = document.querySelector(`.tile[data-user="${CSS.escape(id)}"] video, .tile[data-user="${CSS.escape(id)}"] audio`)?.srcObject;
      if (!stream?.getAudioTracks().length) return null;
      window.probes ??= new Map();
      if (window.probes.get(id)?.stream !== stream) {
        const context = new AudioContext();
        const analyser = context.createAnalyser();
        analyser.fftSize = 4096;
        context.createMediaStreamSource(stream).connect(analyser);
        window.probes.set(id, { stream, context, analyser });
      }
      const { context, analyser } = window.probes.get(id);
      await context.resume();
      const samples = new Float32Array(analyser.fftSize);
      const end = performance.now() + span;
      let loudest = 0;
      while (performance.now() < end) {
        analyser.getFloatTimeDomainData(samples);
        for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
      return loudest;
    }, [user, milliseconds]);
  }

  untilHeard(user, within = 10_000) {
    return waitFor(`sound of ${user}`, async () => (await this.peak(user)) > 0.02, { within, state: () => this.read() });
  }

  /** Takes something from the menu that a host has on a member's tile: mute, video-off, stop-share, kick. */
  async hostOrder(user, order) {
    const menu = this.page.locator(`.tile[data-user="${user}"] details.menu`);
    await menu.locator('summary').click();
    await menu.locator(`[data-order="${order}"]`).click();
  }

  /** The label on a member's tile, '' where there is none. */
  badge(user) {
    return this.page.evaluate((id) => {
      const badge = document.querySelector(`.tile[data-user="${CSS.escape(id)}"] .badge`);
      return badge && !badge.hidden ? badge.textContent.trim() : '';
    }, user);
  }

  /** The sentence across the page, '' where there is none. */
  banner() {
    return this.page.evaluate(() => {
      const banner = document.querySelector('#banner');
      return banner && !banner.hidden ? banner.textContent.trim() : '';
    });
  }

  async close() {
    await this.context.close();
  }
}
