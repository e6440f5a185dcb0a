// A network of its own for each scenario: one namespace with a bridge (the switch), one for each host, and a cable
// (veth pair) between them. No address exists outside these namespaces. What is lost, is lost in the switch: a host whose
// own filter drops what it sends is told so by its kernel, a host on a bad network is not.

import { execFile, execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { monotonic } from '../browser/wait.mjs';

const run = promisify(execFile);
const MARK = 'huddled-net';
const SUBNET = '10.99.0';
const ULA = 'fd99:99::';
/** The switch's end of a host's cable, and the host's. */
const PORT = (name) => `to-${name}`;
const INTERFACE = 'eth0';

/** When a process started, in ticks since boot; undefined if there is none. */
function startOf(pid) {
  try {
    // Field 22 of proc_pid_stat(5); the second is a name in parentheses that may hold anything.
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ')[19];
  } catch {
    return undefined;
  }
}

// A process id comes again, so the run is told by its start as well.
const RUN = `${process.pid}-${startOf(process.pid)}`;
let networks = 0;
const alive = new Set();

/** Fails, with what to do, where networks cannot be made. */
export function requireNetworks() {
  const lacking = [];
  if (process.getuid() !== 0) lacking.push('root: network namespaces are made here');
  for (const [command, words, packaged] of [['ip', ['-V'], 'iproute2'], ['nft', ['--version'], 'nftables']]) {
    try {
      execFileSync(command, words, { stdio: 'ignore' });
    } catch {
      lacking.push(`${command} (Debian package ${packaged})`);
    }
  }
  if (lacking.length > 0) throw new Error(`the network tests need ${lacking.join(', ')}`);
}

/** Removes what runs that are gone have left behind. */
export function sweep() {
  for (const namespace of list()) {
    const [, pid, start] = namespace.match(new RegExp(`^${MARK}-(\\d+)-(\\d+)-`)) ?? [];
    if (pid && startOf(pid) !== start) removeNamespace(namespace);
  }
}

function list() {
  const lines = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).split('\n');
  return lines.map((line) => line.split(' ')[0]).filter((name) => name.startsWith(MARK));
}

function removeNamespace(namespace) {
  try {
    const inside = execFileSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8' }).split('\n').filter(Boolean);
    for (const pid of inside) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
    execFileSync('ip', ['netns', 'del', namespace], { stdio: 'ignore' });
  } catch {
    // Somebody else removed it.
  }
}

// Everything goes however this process ends, SIGKILL apart; then the next run sweeps.
process.on('exit', () => {
  for (const network of alive) network.removeNow();
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

/** One scenario's hosts and the switch between them. */
export class Network {
  static async create() {
    networks += 1;
    const network = new Network(`${MARK}-${RUN}-${networks}`);
    alive.add(network);
    await network.begin();
    return network;
  }

  constructor(name) {
    this.name = name;
    this.switch = `${name}-switch`;
    /** @type {Map<string, Host>} */
    this.hosts = new Map();
    /** Rules of the switch's filter, by what they are about. @type {Map<string, string[]>} */
    this.rules = new Map();
  }

  async begin() {
    await run('ip', ['netns', 'add', this.switch]);
    await this.inSwitch('link', 'add', 'bridge', 'type', 'bridge', 'forward_delay', '0', 'stp_state', '0', 'mcast_snooping', '0');
    await this.inSwitch('link', 'set', 'bridge', 'up');
  }

  inSwitch(...words) {
    return run('ip', ['-n', this.switch, ...words]);
  }

  /** Adds a host, connected. With `ipv6` it has an address of that family as well, without `ipv4` no other. */
  async host(name, { ipv6 = false, ipv4 = true } = {}) {
    const number = 10 + this.hosts.size;
    const host = new Host(this, name, number, { ipv6, ipv4 });
    this.hosts.set(name, host);
    await run('ip', ['netns', 'add', host.namespace]);
    await run('ip', ['link', 'add', PORT(name), 'netns', this.switch, 'type', 'veth', 'peer', 'name', INTERFACE, 'netns', host.namespace]);
    await this.inSwitch('link', 'set', PORT(name), 'master', 'bridge', 'up');
    await host.ip('link', 'set', 'lo', 'up');
    if (ipv4) await host.ip('addr', 'add', `${host.address}/24`, 'dev', INTERFACE);
    await host.ip('link', 'set', INTERFACE, 'up');
    await host.addIpv6();
    return host;
  }

  /** A second cable of a host, with an address of its own; returns that. */
  async secondCable(host) {
    const address = `${SUBNET}.${host.number + 50}`;
    await run('ip', ['link', 'add', PORT(`${host.name}b`), 'netns', this.switch, 'type', 'veth', 'peer', 'name', 'eth1', 'netns', host.namespace]);
    await this.inSwitch('link', 'set', PORT(`${host.name}b`), 'master', 'bridge', 'up');
    await host.ip('addr', 'add', `${address}/24`, 'dev', 'eth1');
    await host.ip('link', 'set', 'eth1', 'up');
    return address;
  }

  // The whole filter is replaced at once, so that no packet slips through in between.
  async applyRules() {
    const rules = [...this.rules.values()].flat();
    const text = `table bridge huddled\ndelete table bridge huddled\ntable bridge huddled {\nchain between {\ntype filter hook forward priority 0;\n${rules.join('\n')}\n}\n}\n`;
    const loading = run('ip', ['netns', 'exec', this.switch, 'nft', '-f', '-']);
    loading.child.stdin.end(text);
    await loading;
  }

  async setRules(key, rules) {
    if (rules.length > 0) this.rules.set(key, rules);
    else this.rules.delete(key);
    await this.applyRules();
    return monotonic();
  }

  // ---- what befalls a network; each says when, CLOCK_MONOTONIC ms ------------------------------

  /** The cable is out at the switch: the host loses the carrier. Times: when it was surely out. */
  async cut(host) {
    await this.inSwitch('link', 'set', PORT(host.name), 'down');
    return monotonic();
  }

  /** The cable is in again. Times: before it was, so that what is measured from here is never flattered. */
  async mend(host) {
    const at = monotonic();
    await this.inSwitch('link', 'set', PORT(host.name), 'up');
    return at;
  }

  /** The host's own interface goes down: its routes go with it, and IPv6 addresses. */
  async unplug(host) {
    await host.ip('link', 'set', INTERFACE, 'down');
    return monotonic();
  }

  /** The host's own interface comes up, with the addresses a DHCP client and a router would give again. */
  async plug(host) {
    const at = monotonic();
    await host.ip('link', 'set', INTERFACE, 'up');
    await host.addIpv6();
    return at;
  }

  /** Nothing of what comes to the host (`in`) or goes from it (`out`) arrives, and nobody is told; the carrier stays. */
  silence(host, directions = { in: true, out: true }) {
    return this.setRules(`silence ${host.name}`, [
      ...(directions.in ? [`oifname "${PORT(host.name)}" drop`] : []),
      ...(directions.out ? [`iifname "${PORT(host.name)}" drop`] : []),
    ]);
  }

  async unsilence(host) {
    const at = monotonic();
    await this.silence(host, {});
    return at;
  }

  /** This share of the packets is lost at random, each way; 0 ends it. */
  lose(host, percent) {
    const loss = `numgen random mod 1000 < ${Math.round(percent * 10)} drop`;
    return this.setRules(`lose ${host.name}`, percent > 0 ? [`oifname "${PORT(host.name)}" ${loss}`, `iifname "${PORT(host.name)}" ${loss}`] : []);
  }

  /** Two hosts do not reach each other; both reach everybody else. */
  block(one, other) {
    const [from, to] = [PORT(one.name), PORT(other.name)];
    return this.setRules(`block ${one.name} ${other.name}`, [`iifname "${from}" oifname "${to}" drop`, `iifname "${to}" oifname "${from}" drop`]);
  }

  /**
   * A firewall around a host: it and these others reach each other, and nobody else. `udp`: whether datagrams pass, too.
   * Datagrams that were refused are counted as `refused NAME`. Hardware addresses are told to everybody, or nobody would try.
   */
  enclose(host, others, { udp = true } = {}) {
    const port = PORT(host.name);
    const allowed = `{ ${others.map(({ name }) => `"${PORT(name)}"`).join(', ')} }`;
    const refused = `meta l4proto udp counter drop comment "refused ${host.name}"`;
    return this.setRules(`enclose ${host.name}`, [
      ...(udp ? [] : [`iifname "${port}" ${refused}`, `oifname "${port}" ${refused}`]),
      `iifname "${port}" oifname != ${allowed} ${refused}`,
      `iifname "${port}" oifname != ${allowed} ether type != arp drop`,
      `oifname "${port}" iifname != ${allowed} ether type != arp drop`,
    ]);
  }

  /** Counts the packets that match each expression, under its name. Put before what drops them. */
  count(expressions) {
    return this.setRules('count', Object.entries(expressions).map(([name, expression]) => `${expression} counter comment "${name}"`));
  }

  /** How many packets the switch counted, by name. */
  async counted() {
    const { stdout } = await run('ip', ['netns', 'exec', this.switch, 'nft', 'list', 'table', 'bridge', 'huddled']);
    const counts = {};
    for (const [, packets, name] of stdout.matchAll(/counter packets (\d+) bytes \d+ (?:drop )?comment "([^"]+)"/g)) {
      counts[name] = (counts[name] ?? 0) + Number(packets);
    }
    return counts;
  }

  async unblock(one, other) {
    const at = monotonic();
    await this.setRules(`block ${one.name} ${other.name}`, []);
    return at;
  }

  /** The host's address goes and another comes, as when a lease changes. */
  async readdress(host, address = `${SUBNET}.${host.number + 100}`) {
    await host.ip('addr', 'del', `${host.address}/24`, 'dev', INTERFACE);
    host.address = address;
    await host.ip('addr', 'add', `${address}/24`, 'dev', INTERFACE);
    return monotonic();
  }

  // ---- the end ------------------------------------------------------------------------------

  removeNow() {
    alive.delete(this);
    for (const namespace of list().filter((each) => each.startsWith(`${this.name}-`))) removeNamespace(namespace);
  }
}

/** One machine on the network. */
export class Host {
  constructor(network, name, number, { ipv6, ipv4 }) {
    this.network = network;
    this.name = name;
    this.number = number;
    this.namespace = `${network.name}-${name}`;
    this.ipv6 = ipv6 ? `${ULA}${number}` : null;
    this.address = ipv4 ? `${SUBNET}.${number}` : this.ipv6;
  }

  /** Its address as it stands in a URL. */
  get authority() {
    return this.address.includes(':') ? `[${this.address}]` : this.address;
  }

  /** What to put before a command so that it runs on this host. */
  get prefix() {
    return ['ip', 'netns', 'exec', this.namespace];
  }

  ip(...words) {
    return run('ip', ['-n', this.namespace, ...words]);
  }

  async addIpv6() {
    if (this.ipv6) await this.ip('addr', 'replace', `${this.ipv6}/64`, 'dev', INTERFACE, 'nodad');
  }
}
