// What an office has between a box and the others: a TURN server (coturn) and an HTTP proxy (tinyproxy or squid), each on a host of
// its own, and a firewall around every member.

import { execFile, execFileSync, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeCertificate } from '../browser/turn.mjs';
import { untilBoxSees } from '../browser/measure.mjs';
import { waitFor } from '../browser/wait.mjs';
import { isBox } from './recorder.mjs';

const run = promisify(execFile);
const REALM = 'huddled.test';
const USER = 'room';
/** Of the fixed user. */
export const PASSWORD = 'correct horse battery';
/** Shared with the server, where passwords are short-lived. */
export const SECRET = 'north by northwest';
const PORTS = { udp: 3478, tcp: 3478, tls: 5349 };
const PROXY_PORT = 8888;
const SQUID_PASSWORDS = '/usr/lib/squid/basic_ncsa_auth';

/** Fails, with what to do, where a program is missing. */
export function requirePrograms(...names) {
  const lacking = names.filter((name) => {
    try {
      execFileSync('sh', ['-c', `command -v ${name}`], { stdio: 'ignore' });
      return false;
    } catch {
      return true;
    }
  });
  if (lacking.length > 0) throw new Error(`the relay tests need ${lacking.join(', ')}: scripts/setup.sh full`);
}

/** A program on a host that listens at TCP ports there. */
class Service {
  constructor(host, words, ports) {
    Object.assign(this, { host, words, ports, lines: [] });
  }

  async launch() {
    const [command, ...words] = [...this.host.prefix, ...this.words];
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = child;
    this.exited = new Promise((done) => {
      child.once('exit', done);
      child.once('error', done);
    });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => this.lines.push(String(data)));
    await waitFor(`${this.words[0]} listens`, async () => {
      if (child.exitCode !== null) throw Object.assign(new Error(`${this.words[0]} ended: ${this.log().slice(-1500)}`), { fatal: true });
      const [ss, ...rest] = [...this.host.prefix, 'ss', '-Hltn'];
      const { stdout } = await run(ss, rest);
      return this.ports.every((port) => new RegExp(`:${port}\\s`).test(stdout));
    }, { within: 15_000, every: 50, state: () => this.log().slice(-1500) });
    return this;
  }

  log() {
    return this.lines.join('');
  }

  /** SIGKILL: nobody is told anything but by the kernel, which resets what was open. */
  async close() {
    this.child.kill('SIGKILL');
    await this.exited;
  }
}

/** coturn, over UDP, TCP and TLS. `login`: `fixed`, or `short` for passwords made of a shared secret. */
export async function startTurn(lab, { login = 'fixed', options = [] } = {}) {
  const host = await lab.network.host('turn', lab.world.families);
  const certificate = await makeCertificate(lab.directory, host.address);
  const users = login === 'fixed' ? ['--lt-cred-mech', '--user', `${USER}:${PASSWORD}`] : ['--use-auth-secret', '--static-auth-secret', SECRET];
  const turn = new Service(host, [
    'turnserver', '-n', '--no-cli', '--no-dtls', '--log-file', 'stdout', '--simple-log', '--pidfile', '', '--realm', REALM, '--verbose',
    '--listening-ip', host.address, '--relay-ip', host.address, '--listening-port', String(PORTS.udp), '--tls-listening-port', String(PORTS.tls),
    '--cert', certificate.cert, '--pkey', certificate.key, ...users, ...options,
  ], [PORTS.tcp, PORTS.tls]);
  turn.certificate = certificate;
  turn.login = login;
  turn.url = (transport) => {
    const [scheme, over] = transport === 'tls' ? ['turns', 'tcp'] : ['turn', transport];
    return `${scheme}:${host.authority}:${PORTS[transport]}?transport=${over}`;
  };
  lab.services.push(turn);
  return turn.launch();
}

/** What runs a proxy of Debian's that lets through to one port, and nothing else. */
const PROXIES = {
  async tinyproxy({ directory, address, port }) {
    const file = join(directory, 'tinyproxy.conf');
    await writeFile(file, `Port ${PROXY_PORT}\nListen ${address}\nTimeout 600\nMaxClients 100\nLogLevel Connect\nConnectPort ${port}\n`);
    return ['tinyproxy', '-d', '-c', file];
  },
  /** `passwords`: whether it asks for one; nobody has one. */
  async squid({ directory, authority, port, passwords = false }) {
    // It does not run as root, and keeps its log where its own user may write.
    const own = join(directory, 'squid');
    await mkdir(own, { recursive: true });
    await Promise.all([chmod(directory, 0o755), chmod(own, 0o777)]);
    const [file, users] = [join(own, 'squid.conf'), join(own, 'users')];
    await writeFile(users, '');
    await writeFile(file, `http_port ${authority}:${PROXY_PORT}
visible_hostname proxy
pid_filename none
pinger_enable off
cache deny all
netdb_filename none
coredump_dir ${own}
cache_log ${own}/cache.log
access_log none
acl relay port ${port}
${passwords ? `auth_param basic program ${SQUID_PASSWORDS} ${users}\nacl known proxy_auth REQUIRED\nhttp_access deny !known\n` : ''}http_access allow CONNECT relay
http_access deny all
`);
    return ['squid', '-N', '-d', '1', '-f', file];
  },
};

/** A proxy (`tinyproxy` or `squid`) on a host of its own. */
export async function startProxy(lab, program, { port = PORTS.tls, ...options } = {}) {
  const host = await lab.network.host(program, lab.world.families);
  const { address, authority } = host;
  const words = await PROXIES[program]({ directory: lab.directory, address, authority, port, ...options });
  const proxy = new Service(host, words, [PROXY_PORT]);
  proxy.url = `http://${authority}:${PROXY_PORT}`;
  lab.services.push(proxy);
  return proxy.launch();
}

/**
 * A box that is not started yet and knows the relay over one transport.
 * @param {{transport: 'udp' | 'tcp' | 'tls', relayOnly?: boolean, proxy?: Service, password?: string, lifetime?: number, ca?: string | null} & object} how
 *   `lifetime` of a password made of the secret, ms; `ca`: the authority's certificate, null for none; and those of a box
 */
export async function prepareRelayed(lab, turn, { transport, relayOnly = false, proxy, password = PASSWORD, lifetime = 60_000, ca = turn.certificate.ca, ...options }) {
  const login = turn.login === 'fixed'
    ? `username = "${USER}"\ncredential_file = "turn-password"\n`
    : `username = "room-101"\nsecret_file = "turn-secret"\nsecret_lifetime_ms = ${lifetime}\n`;
  const box = await lab.prepareBox({
    extra: `[ice]
relay_only = ${relayOnly}
${proxy ? `proxy = "${proxy.url}"\n` : ''}
[[ice_servers]]
urls = ["${turn.url(transport)}"]
${login}${ca ? `ca_file = "${ca}"\n` : ''}`,
    ...options,
  });
  if (turn.login === 'fixed') box.give('turn-password', `${password}\n`);
  else box.give('turn-secret', `${SECRET}\n`);
  return box;
}

/** The user and password of the shared secret that are good until `expiry`, s since 1970. */
export function shortLived(expiry) {
  const username = `${expiry}:room-101`;
  return { username, password: createHmac('sha1', SECRET).update(username).digest('base64') };
}

/** Whether coturn gives an allocation to this user: asked with coturn's own client from another host. */
export async function isServed(host, turn, { username, password }) {
  const [command, ...words] = [
    ...host.prefix, 'turnutils_uclient', '-y', '-t', '-c', '-n', '1', '-m', '1', '-u', username, '-w', password, '-p', String(PORTS.tcp), turn.host.address,
  ];
  const { stdout, stderr } = await run(command, words, { timeout: 15_000 }).catch((error) => error);
  return { served: /tot_recv_msgs=[1-9]/.test(stdout), said: `${stdout}${stderr}` };
}

/** What each member's microphone hums, Hz: a page 660, boxes another tone each. */
const boxTone = (index) => 330 + 110 * index + (index > 2 ? 110 : 0);
const toneOf = (member) => (isBox(member) ? boxTone(Number(member.label.slice('box'.length))) : 660);
/** The microphone of the box with this number. */
export const toneFor = (index) => `sim:tone:${boxTone(index)}`;

/** `receiver` sees a picture of `sender` that moves, and hears its tone. */
async function seesAndHears(receiver, sender, within) {
  const tone = toneOf(sender);
  if (!isBox(receiver)) return Promise.all([receiver.untilPicture(sender.user, within), receiver.untilTone(sender.user, tone, within)]);
  const heard = waitFor(`${receiver.label} hears ${tone} Hz from ${sender.label}`, async () => {
    const audio = (await receiver.health()).peers_in.find(({ user_id: user }) => user === sender.user)?.audio;
    return audio && Math.abs(audio.frequency_hz - tone) < 15;
  }, { within, state: () => receiver.status() });
  return Promise.all([untilBoxSees(receiver, sender.user, within), heard]);
}

/** Picture and sound, both ways, between every two of them. */
export async function assertAllBothWays(pairs, within = 30_000) {
  await Promise.all(pairs.flatMap(([one, other]) => [seesAndHears(one, other, within), seesAndHears(other, one, within)]));
}

/** Counts what a box exchanges with the relay, by transport, and with a member, straight. */
export function countWays(lab, box, turn) {
  const [to, from] = [`iifname "to-${box.host.name}" oifname "to-${turn.host.name}"`, `oifname "to-${box.host.name}" iifname "to-${turn.host.name}"`];
  return lab.network.count({
    'udp out': `${to} udp dport ${PORTS.udp}`,
    'udp in': `${from} udp sport ${PORTS.udp}`,
    'tcp out': `${to} tcp dport ${PORTS.tcp}`,
    'tcp in': `${from} tcp sport ${PORTS.tcp}`,
    'tls out': `${to} tcp dport ${PORTS.tls}`,
    'tls in': `${from} tcp sport ${PORTS.tls}`,
  });
}

/** Counts what a proxy sends to the relay's port for TLS and gets from it, as `proxy out` and `proxy in`. */
export function countProxied(lab, proxy, turn) {
  const [ours, theirs] = [`"to-${proxy.host.name}"`, `"to-${turn.host.name}"`];
  return lab.network.count({
    'proxy out': `iifname ${ours} oifname ${theirs} tcp dport ${PORTS.tls}`,
    'proxy in': `oifname ${ours} iifname ${theirs} tcp sport ${PORTS.tls}`,
  });
}

/** Lines of a box's log. */
export const told = (box, pattern) => box.lines.filter((line) => pattern.test(line));
