// The embedded hub as a process of its own, in the place of the application's server.

import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { BINARY } from './box.mjs';
import { waitFor } from './wait.mjs';

const ROOT = resolve(fileURLToPath(new URL('.', import.meta.url)), '../..');
/** The guest page as `make guest` leaves it. */
export const GUEST_PAGE = join(ROOT, 'target/guest');

export class Hub {
  /**
   * @param {{access?: 'token' | 'open', meetings?: string[], limits?: object, address?: string, port?: number, tls?: string, prefix?: string[]}} options
   *   `prefix`: words before the program's, such as those that enter a network namespace
   */
  static async start(options = {}) {
    if (!existsSync(join(GUEST_PAGE, 'index.html'))) throw new Error('there is no guest page: make guest');
    const hub = new Hub(options, await mkdtemp(join(tmpdir(), 'huddled-hub-')));
    await hub.launch();
    return hub;
  }

  constructor(options, directory) {
    this.options = { access: 'token', meetings: ['main'], limits: {}, address: '127.0.0.1', port: 0, tls: 'off', prefix: [], ...options };
    this.directory = directory;
    this.lines = [];
  }

  get file() {
    return join(this.directory, 'hub.toml');
  }

  async launch() {
    const { access, meetings, limits, address, port, tls, prefix } = this.options;
    const text = JSON.stringify;
    await writeFile(this.file, `[box]
state_dir = ${text(this.directory)}

[hub]
listen = "${address}:${this.port ?? port}"
tls = ${text(tls)}
access = ${text(access)}
meetings = ${text(meetings)}
pages = ${text(GUEST_PAGE)}

[hub.limits]
${Object.entries(limits).map(([key, value]) => `${key} = ${value}`).join('\n')}
`);
    const { NOTIFY_SOCKET: _notify, JOURNAL_STREAM: _journal, WATCHDOG_USEC: _watchdog, ...env } = process.env;
    this.links = new Map();
    this.exit = null;
    const [command, ...words] = [...prefix, BINARY, 'hub', '--config', this.file];
    this.process = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'], env });
    this.exited = new Promise((done) => {
      this.process.once('exit', (code, signal) => {
        this.exit = { code, signal };
        done(this.exit);
      });
    });
    createInterface({ input: this.process.stderr }).on('line', (line) => this.lines.push(line));
    createInterface({ input: this.process.stdout }).on('line', (line) => this.onLine(line));
    await waitFor('the links of the hub', () => {
      if (this.exit) throw Object.assign(new Error(`the hub ended: ${this.lines.join('\n')}`), { fatal: true });
      return this.links.size === 2 * meetings.length;
    });
    const { origin, port: bound } = new URL(this.guestLink());
    this.url = origin;
    this.port = Number(bound);
  }

  onLine(line) {
    const meeting = /^meeting (\S+)$/.exec(line)?.[1];
    if (meeting) this.reading = meeting;
    const [, whom, link] = /^ +for (guests|hosts) +(\S+)$/.exec(line) ?? [];
    if (link) this.links.set(`${this.reading} ${whom}`, link);
  }

  guestLink(meeting = this.options.meetings[0]) {
    return this.links.get(`${meeting} guests`);
  }

  hostLink(meeting = this.options.meetings[0]) {
    return this.links.get(`${meeting} hosts`);
  }

  /** The token of a link. */
  linkToken(link = this.guestLink()) {
    return new URLSearchParams(new URL(link).hash.slice(1)).get('token');
  }

  /** A token bound to a user id, as an administrator makes it for a box. */
  async token(user, meeting = this.options.meetings[0]) {
    const { stdout } = await promisify(execFile)(BINARY, ['hub', '--config', this.file, '--token', user, '--meeting', meeting, '--log-level', 'error']);
    return stdout.trim();
  }

  /** The certificate that it made for itself, for a box's `ca_file`. */
  certificate() {
    return readFile(join(this.directory, 'hub-cert.pem'), 'utf8');
  }

  /** Ends without a farewell, or with one, and comes back on the same port. */
  async restart(signal = 'SIGKILL', whileAway = () => {}) {
    await this.end(signal);
    await whileAway();
    await this.launch();
  }

  async end(signal = 'SIGTERM') {
    if (!this.exit) this.process.kill(signal);
    return this.exited;
  }

  async close() {
    const exit = await this.end();
    await rm(this.directory, { recursive: true, force: true });
    if (exit.code !== 0) throw new Error(`the hub ended with ${JSON.stringify(exit)}\n${this.lines.slice(-15).join('\n')}`);
  }

  // What a Lab asks the gateway for: a hub keeps no record.
  received() {
    return [];
  }

  forget() {}
}
