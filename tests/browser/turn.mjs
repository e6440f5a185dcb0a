// A TURN server (coturn), certificates of an authority of our own, and an HTTP proxy, for the relay scenarios.

import { execFile, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { writeFile } from 'node:fs/promises';
import { connect, createServer, isIP } from 'node:net';
import { join } from 'node:path';
import { networkInterfaces } from 'node:os';
import { promisify } from 'node:util';
import { waitFor } from './wait.mjs';

const run = promisify(execFile);
const REALM = 'huddled.test';

/** An address of this machine that a browser takes part in; loopback where there is no other. */
export const ADDRESS = Object.values(networkInterfaces()).flat().find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.0.1';

/** A port that nobody has, for UDP or TCP. */
export async function freePort(udp = false) {
  const socket = udp ? createSocket('udp4') : createServer();
  await new Promise((done) => (udp ? socket.bind(0, '127.0.0.1', done) : socket.listen(0, '127.0.0.1', done)));
  const { port } = socket.address();
  await new Promise((done) => socket.close(done));
  return port;
}

/**
 * coturn at one port of loopback, over nothing but `transport`.
 * @param {{transport: 'udp' | 'tcp' | 'tls', certificate?: {cert: string, key: string}, port?: number, options: string[]}} how
 *   `options`: who may use it
 */
export async function startTurnServer({ transport, certificate, port, options }) {
  const server = { port: port ?? await freePort(transport === 'udp'), lines: [], failure: null };
  const closed = { udp: ['--no-tcp', '--no-tls'], tcp: ['--no-udp', '--no-tls'], tls: ['--no-udp', '--no-tcp'] }[transport];
  const secure = transport === 'tls' ? ['--tls-listening-port', String(server.port), '--cert', certificate.cert, '--pkey', certificate.key] : [];
  server.launch = async () => {
    const child = spawn('turnserver', [
      '-n', '--no-cli', '--no-dtls', ...closed, ...secure, '--log-file', 'stdout', '--simple-log', '--pidfile', '', '--realm', REALM, '--verbose',
      '--listening-ip', '127.0.0.1', '--relay-ip', ADDRESS, '--listening-port', String(server.port), '--allow-loopback-peers', ...options,
    ], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.once('error', (error) => { server.failure = error; });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => server.lines.push(String(data)));
    server.close = () => new Promise((done) => {
      if (child.exitCode !== null || child.signalCode !== null) return done();
      child.once('exit', done);
      child.kill('SIGKILL');
    });
    const answers = transport === 'udp' ? answersBinding(server.port) : () => accepts(server.port);
    await waitFor('coturn answers', () => {
      if (server.failure) throw Object.assign(server.failure, { fatal: true });
      return answers();
    }, { within: 10_000, every: 100, state: () => server.log().slice(-2000) });
    answers.close?.();
  };
  server.log = () => server.lines.join('');
  await server.launch();
  return server;
}

// A binding request (RFC 8489, 6) is answered as soon as the server stands.
function answersBinding(port) {
  const probe = createSocket('udp4');
  let answered = false;
  probe.on('message', () => { answered = true; });
  const request = Buffer.from('000100002112a442000102030405060708090a0b', 'hex');
  const ask = () => {
    probe.send(request, port, '127.0.0.1');
    return answered;
  };
  ask.close = () => probe.close();
  return ask;
}

function accepts(port) {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => { socket.destroy(); done(true); });
    socket.once('error', () => done(false));
  });
}

/** An authority of our own and one certificate of it for `name` (or an address), as files in `folder`. */
export async function makeCertificate(folder, name = 'localhost') {
  const file = (end) => join(folder, `${name}-${end}`);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await run('openssl', ['req', '-x509', ...key, '-keyout', file('ca.key'), '-out', file('ca.pem'), '-subj', '/CN=Authority of a test', '-days', '2']);
  await run('openssl', ['req', ...key, '-keyout', file('key.pem'), '-out', file('request'), '-subj', `/CN=${name}`]);
  await writeFile(file('names'), `subjectAltName = ${isIP(name) ? 'IP' : 'DNS'}:${name}\n`);
  await run('openssl', ['x509', '-req', '-in', file('request'), '-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial', '-out', file('cert.pem'), '-days', '2', '-extfile', file('names')]);
  return { ca: file('ca.pem'), cert: file('cert.pem'), key: file('key.pem') };
}

/** An HTTP proxy that knows CONNECT. `allows(port)`: to which ports. */
export async function startProxy({ allows = () => true } = {}) {
  const proxy = { asked: [], refused: 0, open: new Set() };
  const server = createServer((client) => {
    proxy.open.add(client);
    client.on('close', () => proxy.open.delete(client));
    client.on('error', () => client.destroy());
    let head = '';
    const onData = (data) => {
      head += data.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      client.off('data', onData);
      const [, host, port] = /^CONNECT (\S+):(\d+) HTTP\/1\.1\r\n/.exec(head) ?? [];
      proxy.asked.push(`${host}:${port}`);
      if (!host || !allows(Number(port))) {
        proxy.refused += 1;
        client.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n');
        return;
      }
      // The proxy resolves the name; coturn listens at IPv4 only.
      const upstream = connect(Number(port), host === 'localhost' ? '127.0.0.1' : host);
      upstream.on('error', () => client.destroy());
      client.on('close', () => upstream.destroy());
      upstream.on('close', () => client.destroy());
      upstream.once('connect', () => {
        client.write('HTTP/1.1 200 Connection established\r\n\r\n');
        upstream.write(Buffer.from(head.slice(end + 4), 'latin1'));
        client.pipe(upstream).pipe(client);
      });
    };
    client.on('data', onData);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  proxy.url = `http://127.0.0.1:${server.address().port}`;
  proxy.close = () => new Promise((done) => {
    for (const client of proxy.open) client.destroy();
    server.close(done);
  });
  return proxy;
}
