// One box: the real daemon with simulated devices, and a client of its control socket.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { readPicture } from './png.mjs';
import { monotonic, waitFor } from './wait.mjs';

const ROOT = resolve(fileURLToPath(new URL('.', import.meta.url)), '../..');

/** The daemon under test. */
export const BINARY = process.env.HUDDLED_BIN ? resolve(process.env.HUDDLED_BIN) : join(ROOT, 'target/debug/huddled');
/** The daemon with the mute gate removed; the mute test must fail on it. */
export const MUTANT = process.env.HUDDLED_MUTANT_BIN ? resolve(process.env.HUDDLED_MUTANT_BIN) : null;

const STOP_DEADLINE = 5000;

// Without the marks of a service manager, so that the log comes to stderr.
function environment() {
  const { NOTIFY_SOCKET: _notify, JOURNAL_STREAM: _journal, WATCHDOG_USEC: _watchdog, ...rest } = process.env;
  return { ...rest, RUST_BACKTRACE: '1' };
}

/** A control connection: newline-delimited JSON, one answer per request. */
class Control {
  constructor(socket) {
    this.socket = socket;
    this.next = 1;
    this.waiting = new Map();
    createInterface({ input: socket }).on('line', (line) => this.onLine(line)).on('error', () => {});
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(new Error('control socket closed')));
  }

  static connect(path) {
    return new Promise((done, fail) => {
      const socket = createConnection(path);
      socket.once('error', fail);
      socket.once('connect', () => {
        socket.off('error', fail);
        done(new Control(socket));
      });
    });
  }

  onLine(line) {
    const message = JSON.parse(line);
    const waiter = this.waiting.get(message.id);
    if (!waiter) return;
    this.waiting.delete(message.id);
    if ('error' in message) waiter.fail(Object.assign(new Error(`${waiter.what}: ${message.error.code}: ${message.error.message}`), { code: message.error.code }));
    else waiter.done(message.ok);
  }

  fail(error) {
    this.closed = error;
    for (const { fail } of this.waiting.values()) fail(error);
    this.waiting.clear();
  }

  ask(what, args) {
    if (this.closed) return Promise.reject(this.closed);
    return new Promise((done, fail) => {
      const id = this.next;
      this.next += 1;
      this.waiting.set(id, { what, done, fail });
      this.socket.write(`${JSON.stringify({ id, do: what, ...(args ? { args } : {}) })}\n`);
    });
  }
}

export class Box {
  /**
   * @param {{directory: string, url: string, meeting: string, user: string, name?: string, binary?: string, camera?: string,
   *   microphone?: string, speaker?: string, video?: object, extra?: string, settings?: object, prefix?: string[]}} options
   *   prefix: the command that runs the daemon, such as `ip netns exec NAME`
   */
  constructor(options) {
    this.options = {
      name: 'Room Box',
      binary: BINARY,
      camera: 'sim:testcard',
      microphone: 'sim:tone:440',
      speaker: 'sim:meter',
      extra: '',
      prefix: [],
      ...options,
      video: { width: 640, height: 360, frame_rate: 15, bitrate: 600_000, ...options.video },
    };
    this.user = this.options.user;
    this.lines = [];
    this.expectedErrors = [];
    this.files = new Map();
    this.exit = null;
  }

  config() {
    const { name, url, meeting, user, camera, microphone, speaker, video, extra } = this.options;
    const text = JSON.stringify;
    return `[box]
name = ${text(name)}

[signaling]
url = ${text(url)}
insecure_http = ${/^http:\/\/(?!127\.)/.test(url)}
meeting = ${text(meeting)}
user = ${text(user)}
${this.options.signaling ?? ''}
[camera]
device = ${text(camera)}

[microphone]
device = ${text(microphone)}

[speaker]
device = ${text(speaker)}

[video]
${Object.entries(video).map(([key, value]) => `${key} = ${value}`).join('\n')}

[panel]
backend = "sim:virtual"

[control]
socket = ${text(this.socketPath)}

${extra}`;
  }

  /** Where an installed box has it below its root, with `installed`; else a file that is named by hand. */
  get configFile() {
    const { directory, installed } = this.options;
    return installed ? join(directory, 'etc/huddled/config.toml') : join(directory, 'config.toml');
  }

  get socketPath() {
    return join(this.options.directory, 'control.sock');
  }

  /** Puts a file beside the configuration at the start. */
  give(name, text) {
    this.files.set(name, text);
  }

  /** Starts the daemon; again, with the state it left, after it has ended. */
  async start() {
    const { directory, binary, prefix } = this.options;
    if (!existsSync(binary)) throw new Error(`there is no daemon at ${binary}: build it, or name it in HUDDLED_BIN`);
    const state = join(directory, 'state');
    await mkdir(state, { recursive: true });
    await mkdir(dirname(this.configFile), { recursive: true });
    await writeFile(this.configFile, this.config());
    for (const [name, text] of this.files) await writeFile(join(directory, name), text, { mode: 0o600 });
    this.startedAt = monotonic();
    this.exit = null;
    const where = this.options.installed ? ['--root', directory] : ['--config', this.configFile];
    const [command, ...words] = [...prefix, binary, 'run', '--allow-sim', ...where, '--state-dir', state];
    this.process = spawn(command, words, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environment(),
    });
    this.exited = new Promise((done) => {
      this.process.once('exit', (code, signal) => {
        this.exit = { code, signal, at: monotonic() };
        done(this.exit);
      });
      this.process.once('error', (error) => {
        this.exit = { error: String(error), at: monotonic() };
        done(this.exit);
      });
    });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      createInterface({ input: stream }).on('line', (line) => this.lines.push(`${monotonic().toFixed(0)} ${line}`));
    }
    this.control = await waitFor('control socket of the box', () => {
      this.assertRunning();
      return Control.connect(this.socketPath);
    }, { within: 15_000, every: 10 });
    return this;
  }

  assertRunning() {
    if (this.exit) {
      throw Object.assign(new Error(`the box ended: ${JSON.stringify(this.exit)}\n${this.lines.slice(-15).join('\n')}`), { fatal: true });
    }
  }

  ask(what, args) {
    this.assertRunning();
    return this.control.ask(what, args);
  }

  status() {
    return this.ask('status');
  }

  health() {
    return this.ask('health');
  }

  /** Frames since the start: taken from the camera, and encoded. */
  async frames() {
    const { video_out: { captured, encoded } } = await this.health();
    return { captured, encoded };
  }

  /** What the simulated speaker heard lately. */
  async heard() {
    return (await this.health()).speaker.heard;
  }

  /** Presses a button of the virtual panel. */
  press(button) {
    return this.ask('press', { button });
  }

  /** The newest picture of a member's camera (or screen) as PNG bytes, or null while there is none. */
  async pictureBytes(user, { screen = false } = {}) {
    try {
      const answer = await this.ask('picture', screen ? { user, screen } : { user });
      const base64 = typeof answer === 'string' ? answer : (answer?.png ?? answer?.data);
      return base64 ? Buffer.from(base64, 'base64') : null;
    } catch (error) {
      if (error.code) return null;
      throw error;
    }
  }

  /** What the newest picture of a member shows, or null while there is none. */
  async picture(user, which) {
    const bytes = await this.pictureBytes(user, which);
    return bytes && readPicture(bytes);
  }

  /** Waits until the snapshot fulfils `condition`. */
  until(what, condition, within = 10_000) {
    return waitFor(`${this.options.name}: ${what}`, async () => {
      const status = await this.status();
      return condition(status) && status;
    }, { within, state: () => this.status() });
  }

  untilJoined(within) {
    return this.until('joined', ({ signaling }) => signaling.state === 'joined', within);
  }

  untilConnected(user, within = 15_000) {
    return this.until(`connected to ${user}`, ({ peers }) => peers.some((peer) => peer.user_id === user && peer.connection_state === 'connected'), within);
  }

  /** ERROR lines that no test announced. */
  errors() {
    return this.lines.filter((line) => /\bERROR\b|panicked at/.test(line) && !this.expectedErrors.some((pattern) => pattern.test(line)));
  }

  expectError(pattern) {
    this.expectedErrors.push(pattern);
  }

  /** Sends a signal and waits for the end; says how long it took, ms. */
  async stop(signal = 'SIGTERM', within = STOP_DEADLINE) {
    if (!this.process || this.exit) return { ...this.exit, took: 0 };
    const asked = monotonic();
    this.process.kill(signal);
    const timer = setTimeout(() => this.process.kill('SIGKILL'), within);
    const exit = await this.exited;
    clearTimeout(timer);
    return { ...exit, took: exit.at - asked };
  }
}
