// Headless Chromium and the pages in it that act as members.

import { chromium } from 'playwright-core';
import { monotonic, waitFor } from './wait.mjs';

export const EXECUTABLE = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';
const CLOCK_READINGS = 15;

/**
 * One browser process; `launch` gives it a profile folder of its own.
 * @param {{executable?: string, args?: string[], mdns?: boolean}} options a program to start in its place, further arguments, and
 *   whether its addresses are hidden behind names in .local from pages that may not capture
 */
export function launchChromium({ executable = EXECUTABLE, args = [], mdns = false } = {}) {
  return chromium.launch({
    executablePath: executable,
    headless: true,
    args: [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--autoplay-policy=no-user-gesture-required',
      // Pages without a permission get names in .local; this flag grants it to all of them.
      ...(mdns ? ['--enable-features=WebRtcHideLocalIpsWithMdns'] : ['--use-fake-ui-for-media-stream']),
      '--use-fake-device-for-media-stream',
      '--disable-background-networking',
      '--disable-background-timer-throttling',
      '--disable-backgrounding-occluded-windows',
      '--disable-renderer-backgrounding',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
      '--disable-quic',
      ...args,
    ],
  });
}

/** A page that is a member of a meeting. */
export class MemberPage {
  /**
   * @param {import('playwright-core').Browser} browser
   * @param {{manner: 'v1' | 'v2' | 'good', origin: string, user: string, meeting: string, query?: Record<string, string | number>,
   *   permissions?: string[]}} options  without a permission to capture, the browser hides its addresses behind names in .local
   */
  static async open(browser, { permissions = ['camera', 'microphone'], ...options }) {
    const context = await browser.newContext({ viewport: { width: 480, height: 320 }, permissions });
    const page = await context.newPage();
    const member = new MemberPage(context, page, options);
    await member.load();
    return member;
  }

  constructor(context, page, options) {
    this.context = context;
    this.page = page;
    this.options = options;
    this.user = options.user;
    this.console = [];
    page.on('console', (message) => this.console.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => this.console.push(`pageerror: ${error.stack ?? error}`));
    page.on('crash', () => this.console.push('the page crashed'));
  }

  async load() {
    const { origin, manner, user, meeting, query = {} } = this.options;
    const parameters = new URLSearchParams({ user, meeting, name: `Browser ${manner}`, ...query });
    await this.page.goto(`${origin}/${manner}.html?${parameters}`);
    await this.begin();
  }

  async reload() {
    await this.page.reload();
    await this.begin();
  }

  async begin() {
    await this.page.waitForFunction(() => Boolean(window.member));
    await this.page.evaluate((offset) => window.member.begin(offset), await this.clockOffset());
  }

  /** CLOCK_MONOTONIC minus the page's performance.now(), by the fastest of several round trips. */
  async clockOffset() {
    let best = { round: Infinity, offset: 0 };
    for (let i = 0; i < CLOCK_READINGS; i += 1) {
      const before = monotonic();
      const there = await this.page.evaluate(() => performance.now());
      const after = monotonic();
      if (after - before < best.round) best = { round: after - before, offset: (before + after) / 2 - there };
    }
    this.clockUncertainty = best.round / 2;
    return best.offset;
  }

  /** Everything `Member.read` says. */
  read() {
    return this.page.evaluate(() => window.member.read());
  }

  /** Calls a method of `window.member`. */
  call(method, ...args) {
    return this.page.evaluate(([name, values]) => window.member[name](...values), [method, args]);
  }

  stats(user) {
    return this.call('stats', user);
  }

  readings(user) {
    return this.call('readings', user);
  }

  soundSince(user, since) {
    return this.call('soundSince', user, since);
  }

  /** Waits until what `read` says fulfils `condition`; returns that reading. */
  until(what, condition, within = 15_000) {
    return waitFor(`${this.options.manner} ${this.user}: ${what}`, async () => {
      const state = await this.read();
      return (await condition(state)) && state;
    }, { within, state: () => this.read() });
  }

  untilJoined(within) {
    return this.until('joined', ({ joined }) => joined, within);
  }

  untilConnected(user, within) {
    return this.until(`connected to ${user}`, ({ peers }) => peers[user]?.connectionState === 'connected', within);
  }

  /** Waits for a test card of `user` whose counter goes on; returns the state at the end. */
  async untilPicture(user, within) {
    const first = await this.until(`a test card of ${user}`, ({ remotes }) => remotes[user]?.picture.newest, within);
    const { counter } = first.remotes[user].picture;
    return this.until(`the counter of ${user} beyond ${counter}`, ({ remotes }) => remotes[user]?.picture.counter > counter + 3, within);
  }

  /** Waits until the strongest frequency heard from `user` is `frequency`. */
  untilTone(user, frequency, within) {
    return this.until(`${frequency} Hz from ${user}`, ({ remotes }) => {
      const sound = remotes[user]?.sound;
      return sound && Math.abs(sound.frequency - frequency) < 15 && sound.peak > 0.02;
    }, within);
  }

  async close() {
    await this.context.close();
  }
}
