// `huddled demo` as a process: hub, box and both pages.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { BINARY } from './box.mjs';
import { GUEST_PAGE } from './hub.mjs';
import { monotonic, waitFor } from './wait.mjs';

export class Demo {
  /** @param {string[]} words further arguments */
  static async start(...words) {
    const demo = new Demo();
    const { NOTIFY_SOCKET: _notify, JOURNAL_STREAM: _journal, ...env } = process.env;
    demo.process = spawn(BINARY, ['demo', '--pages', GUEST_PAGE, '--listen', '127.0.0.1:0', '--http', '127.0.0.1:0', ...words], { stdio: ['ignore', 'pipe', 'pipe'], env });
    demo.exited = new Promise((done) => {
      demo.process.once('exit', (code, signal) => {
        demo.exit = { code, signal, at: monotonic() };
        done(demo.exit);
      });
    });
    createInterface({ input: demo.process.stderr }).on('line', (line) => demo.lines.push(line));
    createInterface({ input: demo.process.stdout }).on('line', (line) => demo.said.push(line));
    await waitFor('what the demo prints', () => {
      if (demo.exit) throw Object.assign(new Error(`the demo ended: ${demo.lines.join('\n')}`), { fatal: true });
      return demo.said.some((line) => line.includes('Ctrl+C'));
    }, { within: 20_000 });
    const find = (label) => demo.said.map((line) => new RegExp(`^ +${label} +(\\S.*)$`).exec(line)?.[1]).find(Boolean);
    demo.meetingLink = find('the meeting');
    demo.hostLink = find('as its host');
    demo.page = find("the box's page");
    demo.socket = /--socket (\S+)/.exec(find('from a shell'))[1];
    return demo;
  }

  constructor() {
    this.lines = [];
    this.said = [];
    this.exit = null;
    // What a Lab asks its gateway for.
    this.options = { meetings: ['demo'] };
  }

  get url() {
    return new URL(this.meetingLink).origin;
  }

  guestLink() {
    return this.meetingLink;
  }

  async status() {
    return (await fetch(`${this.page}api/status`)).json();
  }

  /** Sends a signal and waits for the end; says how long it took, ms. */
  async end(signal = 'SIGTERM') {
    const asked = monotonic();
    if (!this.exit) this.process.kill(signal);
    const exit = await this.exited;
    return { ...exit, took: exit.at - asked };
  }

  async close() {
    const exit = await this.end();
    const errors = this.lines.filter((line) => /\bERROR\b|panicked at/.test(line));
    if (exit.code !== 0 || errors.length > 0) throw new Error(`the demo ended with ${JSON.stringify(exit)}\n${errors.join('\n')}`);
  }

  received() {
    return [];
  }

  forget() {}
}
