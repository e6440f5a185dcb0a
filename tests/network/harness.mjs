// Scenarios as in tests/browser, each on a network of its own: the gateway, every box and every browser on a host of its own.

import { rmSync, writeFileSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EXECUTABLE, MemberPage, launchChromium } from '../browser/chromium.mjs';
import { Lab, runOnce } from '../browser/harness.mjs';
import { Network, requireNetworks, sweep } from './namespaces.mjs';
import { PENDING } from './pending.mjs';
import { Recorder, isBox } from './recorder.mjs';
import { RemoteGateway } from './server.mjs';

/** Where failures leave what there is to see. */
export const OUTPUT = join(fileURLToPath(new URL('.', import.meta.url)), 'output');
const SCENARIO_LIMIT = 180_000;

// On a machine that others keep busy: a weight for the scheduling groups of a run (sched(7), autogroup), so that its figures
// tell of the box and not of the neighbours. A browser is a session, hence a group, of its own.
const { HUDDLED_AUTOGROUP_NICE: NICE } = process.env;
const WEIGH = NICE ? `echo ${Number(NICE)} > /proc/self/autogroup` : '';

/** Small pictures: what is tested is the way, not the load. */
export const LIGHT = { video: { width: 320, height: 180, frame_rate: 15, bitrate: 200_000 } };
export const SMALL = { size: '320x180', fps: 15 };

/**
 * A group of scenarios.
 * @param {string} name
 * @param {(scenario: (title: string, body: (lab: NetworkLab) => Promise<void>, options?: {limit?: number, families?: object}) => void) => void} define
 *   `limit`: of one attempt, ms; `families`: of every host's addresses, {ipv6, ipv4} as for a host of a network
 */
export function suite(name, define) {
  requireNetworks();
  sweep();
  weigh();
  describe(name, () => {
    define((title, body, { limit = SCENARIO_LIMIT, families = {} } = {}) => {
      it(title, { timeout: limit * 2 }, () => runScenario({ name, families }, title, body));
    });
  });
}

// Where a run is broken off, no scenario clears up after itself.
const directories = new Set();
process.on('exit', () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** Gives this process's session the weight asked for. */
export function weigh() {
  if (NICE) writeFileSync('/proc/self/autogroup', String(Number(NICE)));
}

// Repeated once, as in tests/browser, and for the same reason; what is pending is not.
async function runScenario(world, title, body) {
  const reason = PENDING.get(title);
  for (let attempt = 1; ; attempt += 1) {
    const lab = new NetworkLab(world, title);
    lab.allowance = attempt;
    const failure = await runOnce(lab, async () => {
      await body(lab);
      if (lab.misses.length > 0) throw new Error(lab.misses.join('; '));
    });
    if (reason !== undefined) {
      console.log(failure ? `PENDING ${title}: ${reason}; now: ${failure.message.split('\n')[0].slice(0, 600)}` : `PENDING ${title}: passes now, strike it off`);
      return;
    }
    if (!failure) return;
    if (attempt === 2) throw failure;
    console.log(`REPEAT ${title}: ${failure.message}`);
  }
}

/** One scenario's network, meeting and members. */
export class NetworkLab extends Lab {
  constructor(world, title) {
    super(world, title);
    this.output = OUTPUT;
    this.browsers = [];
    this.recorders = [];
    /** Programs on hosts, to be ended with the scenario. @type {{close: () => Promise<void>, log: () => string}[]} */
    this.services = [];
    /** Demands that were not met. @type {string[]} */
    this.misses = [];
  }

  async prepare() {
    await super.prepare();
    directories.add(this.directory);
    this.network = await Network.create();
    this.serverHost = await this.network.host('server', this.world.families);
    this.gateway = await RemoteGateway.start(this.serverHost, join(this.directory, 'gateway.sock'));
  }

  /** A box that is not started yet, on a host of its own: `box.host`. `ipv6`: with addresses of both families. */
  async prepareBox({ ipv6, ...options } = {}) {
    const host = await this.network.host(`box${this.boxes.length}`, { ...this.world.families, ...(ipv6 && { ipv6 }) });
    const box = super.prepareBox({ ...LIGHT, prefix: host.prefix, name: host.name, ...options });
    return Object.assign(box, { host, label: host.name });
  }

  async box(options) {
    return (await this.prepareBox(options)).start();
  }

  /** Starts several boxes at once, with ids that begin as given. */
  async boxesWith(...ids) {
    return Promise.all((await inTurn(ids, (id) => this.prepareBox({ id }))).map((box) => box.start()));
  }

  /**
   * Opens a page as a member, in a browser on a host of its own, or beside another member: `member.host`.
   * @param {'v1' | 'v2' | 'good'} manner
   * @param {{id?: string, role?: string, beside?: MemberPage, fence?: (host: Host) => Promise<unknown>, mdns?: boolean}} options and those
   *   of the page; `fence` is done before the page is opened; `mdns`: its addresses are hidden behind names in .local
   */
  async member(manner, { id = 'f', role = 'participant', beside, ipv6, fence, mdns, ...query } = {}) {
    const { host, browser } = beside ?? (await this.browserHost({ ipv6, mdns }));
    await fence?.(host);
    const user = this.id(id);
    await this.gateway.admit({ meeting: this.meeting, user, role, online: false });
    const member = await MemberPage.open(browser, { manner, origin: this.gateway.url, user, meeting: this.meeting, query: { ...SMALL, ...query }, ...(mdns && { permissions: [] }) });
    Object.assign(member, { host, browser, label: manner });
    this.members.push(member);
    return member;
  }

  async browserHost({ ipv6, mdns } = {}) {
    const host = await this.network.host(`web${this.browsers.length}`, { ...this.world.families, ...(ipv6 && { ipv6 }) });
    // To a page without permissions the browser gives the address of the default route alone; and the names go by multicast.
    if (mdns) await host.ip('route', 'add', 'default', 'dev', 'eth0');
    const executable = join(this.directory, host.name);
    await writeFile(executable, `#!/bin/sh\n${WEIGH}\nexec ${host.prefix.join(' ')} ${EXECUTABLE} "$@"\n`);
    await chmod(executable, 0o755);
    // The audio worklet needs a secure context, which plain HTTP is from loopback only.
    const browser = await launchChromium({ executable, mdns, args: [`--unsafely-treat-insecure-origin-as-secure=${this.gateway.url}`] });
    this.browsers.push(browser);
    return { host, browser };
  }

  /** Begins to note what arrives where. */
  record(members, options) {
    const recorder = new Recorder(members, options);
    this.recorders.push(recorder);
    return recorder;
  }

  /** As in tests/browser, but what is missed fails the scenario at its end only, so that the other figures are there too; `goal` is wanted, not demanded. */
  figure(name, value, unit, { most, goal } = {}) {
    if (goal !== undefined && value > goal) console.log(`GOAL missed: ${name} is ${value.toFixed(1)} ${unit}, wanted is ${goal}`);
    try {
      super.figure(name, value, unit, { most });
    } catch (error) {
      this.misses.push(error.message);
    }
  }

  logs() {
    return this.services.map((service) => [service.host.name, service.log()]);
  }

  async clear() {
    try {
      await Promise.all(this.recorders.map((recorder) => recorder.stop()));
      // Gateway missing: the network was not even made.
      if (this.gateway) await super.clear();
    } finally {
      await Promise.allSettled(this.browsers.map((browser) => browser.close()));
      await Promise.allSettled(this.services.map((service) => service.close()));
      await this.gateway?.close();
      this.network?.removeNow();
    }
  }
}

/** One after the other. */
export async function inTurn(values, body) {
  const results = [];
  for (const value of values) results.push(await body(value));
  return results;
}

/** Every two of them, once. */
export function pairsOf(members) {
  return members.flatMap((one, index) => members.slice(index + 1).map((other) => [one, other]));
}

/** Every two of which one is a box: the two generations of browsers do not hear each other's signaling, whatever a box does. */
export function pairsThatHear(members) {
  return pairsOf(members).filter(([one, other]) => isBox(one) || isBox(other));
}
