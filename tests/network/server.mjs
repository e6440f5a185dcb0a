// The gateway of tests/browser as a process on a host of its own. Its controls come over a Unix socket, beside the network.

import { spawn } from 'node:child_process';
import { request } from 'node:http';
import { fileURLToPath } from 'node:url';
import { CONTROLS } from '../browser/gateway.mjs';
import { waitFor } from '../browser/wait.mjs';

const PROGRAM = fileURLToPath(new URL('../browser/gateway.mjs', import.meta.url));
const PORT = 3000;

/** Has the test controls of `Gateway` as methods; each takes one object and gives a promise. */
export class RemoteGateway {
  /** @param {import('./namespaces.mjs').Host} host @param {string} controlSocket */
  static async start(host, controlSocket) {
    const gateway = new RemoteGateway(host, controlSocket);
    await waitFor('the gateway answers', () => {
      if (gateway.child.exitCode !== null) throw Object.assign(new Error(`the gateway ended: ${gateway.complaints.join('')}`), { fatal: true });
      return gateway.rows({ meeting: 'none' });
    }, { within: 30_000, state: () => gateway.complaints });
    return gateway;
  }

  constructor(host, controlSocket) {
    this.controlSocket = controlSocket;
    this.url = `http://${host.authority}:${PORT}`;
    const [command, ...prefix] = host.prefix;
    this.child = spawn(command, [
      ...prefix, process.execPath, PROGRAM, '--host', host.address, '--port', String(PORT), '--open-meeting',
      '--exit-with-stdin', '--control-socket', controlSocket,
    ], { stdio: ['pipe', 'ignore', 'pipe'] });
    this.complaints = [];
    this.child.stderr.on('data', (data) => this.complaints.push(String(data)));
    this.exited = new Promise((done) => this.child.once('exit', done));
  }

  ask(name, args = {}) {
    return new Promise((done, fail) => {
      const asking = request({ socketPath: this.controlSocket, path: `/__test/${name}`, method: 'POST' }, async (response) => {
        try {
          const chunks = [];
          for await (const chunk of response) chunks.push(chunk);
          const value = JSON.parse(Buffer.concat(chunks).toString());
          if (response.statusCode === 200) done(value);
          else fail(new Error(`gateway ${name}: ${value.message}`));
        } catch (error) {
          fail(error);
        }
      });
      asking.on('error', fail);
      asking.end(JSON.stringify(args));
    });
  }

  /** The whole server stands still: the kernel goes on accepting for it, and nothing ever answers. */
  stall() {
    this.child.kill('SIGSTOP');
  }

  resume() {
    this.child.kill('SIGCONT');
  }

  async close() {
    this.resume();
    this.child.kill('SIGKILL');
    await this.exited;
  }
}

for (const name of CONTROLS) {
  RemoteGateway.prototype[name] = function control(args) {
    return this.ask(name, args);
  };
}
