// The hostile program (tests/hostile) as a process, and what a process under attack holds.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { BINARY } from '../browser/box.mjs';
import { monotonic } from '../browser/wait.mjs';

const PROGRAM = process.env.HUDDLED_HOSTILE_BIN ?? join(dirname(BINARY), 'examples/hostile');
/** How often a process is looked at, ms. */
const EVERY = 250;
const TICKS_PER_SECOND = 100;

/** The seed of a run: given, or new. A failure repeats with the seed that the log names. */
export function seedOf() {
  return process.env.HUDDLED_HOSTILE_SEED ?? String(Math.floor(Math.random() * 2 ** 48));
}

export class Attacker {
  /** @param {string[]} words arguments of the program @param {string[]} prefix the command that runs it, such as `ip netns exec NAME` */
  constructor(words, prefix = []) {
    if (!existsSync(PROGRAM)) throw new Error(`there is no program at ${PROGRAM}: cargo build --example hostile, or name it in HUDDLED_HOSTILE_BIN`);
    const [command, ...rest] = [...prefix, PROGRAM, ...words];
    this.lines = [];
    this.process = spawn(command, rest, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.process.stdin.on('error', () => {});
    createInterface({ input: this.process.stdout }).on('line', (line) => this.lines.push(line));
    createInterface({ input: this.process.stderr }).on('line', (line) => this.lines.push(line));
    this.exited = new Promise((done) => this.process.once('close', (code, signal) => done({ code, signal })));
  }

  get pid() {
    return this.process.pid;
  }

  tell(line) {
    this.process.stdin.write(`${line}\n`);
  }

  /** Waits for the end; what the program counted. */
  async report() {
    const { code, signal } = await this.exited;
    const last = this.lines.findLast((line) => line.startsWith('{'));
    if (code !== 0 || !last) throw new Error(`the hostile program ended with ${code ?? signal}: ${this.lines.slice(-10).join('\n')}`);
    return JSON.parse(last);
  }

  async close() {
    this.process.kill('SIGKILL');
    await this.exited;
  }
}

/** The sum of the counters whose names begin so. */
export function total(counts, ...starts) {
  return Object.entries(counts).filter(([name]) => starts.some((start) => name.startsWith(start))).reduce((sum, [, count]) => sum + count, 0);
}

/** Prints counters in few lines, one for each layer. */
export function printCounts({ seed, counts }) {
  const layers = new Map();
  for (const [name, count] of Object.entries(counts)) {
    const [layer, kind] = name.includes(': ') ? name.split(': ') : ['attempts', name];
    layers.set(layer, [...(layers.get(layer) ?? []), `${kind} ${count}`]);
  }
  console.log(`# hostile, seed ${seed}`);
  for (const [layer, kinds] of layers) console.log(`#   ${layer}: ${kinds.join(', ')}`);
}

/** Sockets for UDP in the network of a process, as ADDRESS:PORT. */
export function udpPorts(pid, address) {
  const lines = readFileSync(`/proc/${pid}/net/udp`, 'utf8').trim().split('\n').slice(1);
  return lines.map((line) => `${address}:${Number.parseInt(line.trim().split(/\s+/)[1].split(':')[1], 16)}`);
}

/** Memory, descriptors and time of a process while something happens to it. */
export class Vitals {
  constructor(name, pid) {
    this.name = name;
    this.pid = pid;
    this.memory = [];
    this.descriptors = [];
    this.time = 0;
    this.look();
    this.timeAtStart = this.time;
    this.startedAt = monotonic();
    this.timer = setInterval(() => this.look(), EVERY);
  }

  look() {
    try {
      const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
      this.memory.push(Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024);
      this.descriptors.push(readdirSync(`/proc/${this.pid}/fd`).length);
      this.time = this.cpu();
    } catch {
      // The process has ended, which others notice.
    }
  }

  cpu() {
    const fields = readFileSync(`/proc/${this.pid}/stat`, 'utf8').split(') ').at(-1).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** Ends the looking; start, end and maximum of each, growth to the maximum, and the share of one core. */
  end() {
    clearInterval(this.timer);
    this.look();
    if (this.memory.length === 0) throw new Error(`${this.name} has ended`);
    const of = (values) => ({ start: values[0], end: values.at(-1), max: Math.max(...values), growth: Math.max(...values) - values[0] });
    const share = (100 * (this.time - this.timeAtStart)) / ((monotonic() - this.startedAt) / 1000);
    const result = { memory: of(this.memory), descriptors: of(this.descriptors), share };
    const text = ({ start, end, max }, digits) => `start ${start.toFixed(digits)}, end ${end.toFixed(digits)}, max ${max.toFixed(digits)}`;
    console.log(`# ${this.name}: memory MiB ${text(result.memory, 1)}; descriptors ${text(result.descriptors, 0)}; ${share.toFixed(0)} % of a core`);
    return result;
  }
}

/** The value below which a share (0 to 1) of the values lies. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}
