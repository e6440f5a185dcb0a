// Which ways there are: the other family of addresses, none at the start, two cables; and what packets say of themselves.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { assertBothWays, untilBoxSees } from '../browser/measure.mjs';
import { monotonic, observe, waitFor } from '../browser/wait.mjs';
import { suite } from './harness.mjs';

const run = promisify(execFile);
const MARKS = { sound: 46, camera: 34, screen: 18 };

/** How many packets the switch counted for each comment of its rules. */
async function counted(network) {
  const { stdout } = await run('ip', ['netns', 'exec', network.switch, 'nft', 'list', 'table', 'bridge', 'huddled']);
  const lines = stdout.matchAll(/counter packets (\d+) bytes \d+ comment "([^"]+)"/g);
  return Object.fromEntries([...lines].map(([, packets, name]) => [name, Number(packets)]));
}

suite('addresses', (scenario) => {
  scenario('sound, camera and screen leave with marks of their own', async (lab) => {
    const box = await lab.box({ id: '8', extra: '[screen]\ndevice = "sim:slides"\n' });
    const member = await lab.member('v2');
    await assertBothWays(box, member);
    await box.ask('share', { on: true });
    await member.until('shows the screen', ({ screens }) => screens[box.user]?.picture.width === 1280);
    const rules = Object.entries(MARKS).map(([name, mark]) => `iifname "to-${box.host.name}" ip protocol udp ip dscp ${mark} counter comment "${name}"`);
    await lab.network.setRules('marks', rules);
    await waitFor('packets of each kind', async () => {
      const packets = await counted(lab.network);
      return Object.keys(MARKS).every((name) => packets[name] > 20);
    }, { state: () => counted(lab.network) });
    await lab.network.setRules('marks', []);
  });

  scenario('where nothing goes by IPv4, pictures and sound go by IPv6', async (lab) => {
    const box = await lab.box({ id: '8', ipv6: true });
    // Signaling stays: what is refused is every packet of media by IPv4.
    await lab.network.setRules('no IPv4 for media', ['ip protocol udp drop']);
    const member = await lab.member('v2', { ipv6: true });
    const startedAt = monotonic();
    await assertBothWays(box, member);
    lab.figure('ipv6-both-ways-after', monotonic() - startedAt, 'ms');
  });

  scenario('a box that starts without any network meets the others once there is one', async (lab) => {
    const member = await lab.member('v2');
    const box = await lab.prepareBox({ id: '8' });
    await lab.network.unplug(box.host);
    await box.start();
    await observe(3000);
    assert.equal((await box.status()).signaling.state, 'reconnecting');
    const upAt = await lab.network.plug(box.host);
    await assertBothWays(box, member);
    lab.figure('first-network-to-both-ways', monotonic() - upAt, 'ms', { most: 10_000 });
  });

  scenario('of two cables one is pulled, and the meeting goes on over the other', async (lab) => {
    const one = await lab.prepareBox({ id: '8' });
    const other = await lab.prepareBox({ id: 'c' });
    await lab.network.secondCable(one.host);
    await one.start();
    await other.start();
    await untilBoxSees(one, other.user);
    await untilBoxSees(other, one.user);
    // Signaling is bound to the first address and comes back by the second route.
    const downAt = await lab.network.unplug(one.host);
    await waitFor('the picture is back', async () => {
      const before = await other.pictureBytes(one.user);
      await observe(300);
      const now = await other.pictureBytes(one.user);
      return monotonic() - downAt > 4000 && before && now && !before.equals(now);
    }, { within: 30_000, state: () => other.status() });
    lab.figure('second-cable-takes-over', monotonic() - downAt, 'ms');
  });
});
