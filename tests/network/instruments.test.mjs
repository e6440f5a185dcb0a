// The network does what its verbs say, and the demands on the boxes can fail: without this the others mean nothing.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { monotonic } from '../browser/wait.mjs';
import { suite } from './harness.mjs';
import { judge, outage } from './outage.mjs';

const run = promisify(execFile);
const PROBE = fileURLToPath(new URL('probe.mjs', import.meta.url));

async function echoOn(host) {
  const [command, ...words] = [...host.prefix, process.execPath, PROBE, 'echo'];
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}

async function ask(from, address, count = 20) {
  const [command, ...words] = [...from.prefix, process.execPath, PROBE, 'ask', address, String(count)];
  return JSON.parse((await run(command, words)).stdout);
}

async function carrier(host) {
  const { stdout } = await host.ip('-j', 'link', 'show', 'dev', 'eth0');
  return !JSON.parse(stdout)[0].flags.includes('NO-CARRIER');
}

suite('instruments', (scenario) => {
  scenario('every verb of the network does what it says', async ({ network }) => {
    const [one, two, three] = [await network.host('one'), await network.host('two'), await network.host('three')];
    const echoes = [await echoOn(two), await echoOn(three)];
    const reached = async (address) => (await ask(one, address)).back;
    try {
      assert.equal(await reached(two.address), 20);

      await network.cut(one);
      assert.equal(await carrier(one), false);
      assert.equal(await reached(two.address), 0);
      await network.mend(one);
      assert.equal(await carrier(one), true);
      assert.equal(await reached(two.address), 20);

      await network.unplug(one);
      assert.equal(await reached(two.address), 0);
      await network.plug(one);
      assert.equal(await reached(two.address), 20);

      for (const directions of [{ in: true }, { out: true }, { in: true, out: true }]) {
        await network.silence(one, directions);
        assert.equal(await carrier(one), true, 'silence leaves the carrier');
        assert.deepEqual(await ask(one, two.address), { back: 0, errors: 0 }, 'silence tells nobody');
        await network.unsilence(one);
        assert.equal(await reached(two.address), 20);
      }

      await network.block(one, two);
      assert.deepEqual([await reached(two.address), await reached(three.address)], [0, 20]);
      await network.unblock(one, two);

      const { address: before } = two;
      await network.readdress(two);
      assert.notEqual(two.address, before);
      assert.deepEqual([await reached(before), await reached(two.address)], [0, 20]);

      await network.lose(one, 15);
      const { back } = await ask(one, two.address, 2000);
      // Lost on the way there or back: 1 - 0.85 * 0.85 = 27.75 %, standard deviation 1 %.
      assert.ok(Math.abs(1 - back / 2000 - 0.2775) < 0.06, `${2000 - back} of 2000 lost`);
      await network.lose(one, 0);
      assert.equal(await reached(two.address), 20);
    } finally {
      for (const echo of echoes) echo.kill();
    }
  });

  scenario('a recovery that does not come is noticed, and so is an outage that is none', async (lab) => {
    const [one, two] = await lab.boxesWith('1', '2');
    const recorder = lab.record([one, two]);
    await recorder.untilAllBack([[one, two]], monotonic(), 20_000);
    // Put back in name only.
    const { network } = lab;
    const broken = Object.assign(Object.create(lab), { network: Object.assign(Object.create(network), { mend: async () => monotonic() }) });
    const never = await outage(broken, recorder, one, [two], 'cable', 2, 6000);
    const demands = new Silent();
    judge(demands, 'never', never.rows, 2);
    assert.deepEqual(demands.missed, ['never-box0-box1-back-in', 'never-box0-box1-back-out']);
    await network.mend(one.host);
    await recorder.untilAllBack([[one, two]], monotonic(), 40_000);
    const idle = Object.assign(Object.create(lab), { network: Object.assign(Object.create(network), { cut: async () => monotonic() }) });
    const none = await outage(idle, recorder, one, [two], 'cable', 2, 6000);
    assert.throws(() => judge(new Silent(), 'none', none.rows, 2), /the outage was none/);
  });
});

// Takes figures without printing them, so that none is taken for the boxes'.
class Silent {
  constructor() {
    this.missed = [];
  }

  figure(name, value, unit, { most } = {}) {
    if (most !== undefined && !(value <= most)) this.missed.push(name);
  }
}
