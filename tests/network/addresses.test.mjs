// Which ways there are: the other family of addresses, none at the start, two cables, names in the place of addresses; and what
// packets say of themselves.

import assert from 'node:assert/strict';
import { assertBothWays, untilBoxSees } from '../browser/measure.mjs';
import { monotonic, observe, waitFor } from '../browser/wait.mjs';
import { suite } from './harness.mjs';

const MARKS = { sound: 46, camera: 34, screen: 18 };

/** Candidates that a user sent, in descriptions and alone. */
async function candidatesOf(lab, user) {
  const events = await lab.gateway.received({ user });
  return events.flatMap(({ payload }) => JSON.stringify(payload ?? {}).match(/candidate:\d[^"\\]*/g) ?? []);
}

suite('addresses', (scenario) => {
  scenario('sound, camera and screen leave with marks of their own', async (lab) => {
    const box = await lab.box({ id: '8', extra: '[screen]\ndevice = "sim:slides"\n' });
    const member = await lab.member('v2');
    await assertBothWays(box, member);
    await box.ask('share', { on: true });
    await member.until('shows the screen', ({ screens }) => screens[box.user]?.picture.width === 1280);
    await lab.network.count(Object.fromEntries(Object.entries(MARKS).map(([name, mark]) => [name, `iifname "to-${box.host.name}" ip protocol udp ip dscp ${mark}`])));
    await waitFor('packets of each kind', async () => {
      const packets = await lab.network.counted();
      return Object.keys(MARKS).every((name) => packets[name] > 20);
    }, { state: () => lab.network.counted() });
  });

  // Signaling stays: what is refused is every packet of media by one of the two families that everybody has.
  for (const [dead, family, alive] of [['IPv4', 'ip', 'IPv6'], ['IPv6', 'ip6', 'IPv4']]) {
    scenario(`where nothing goes by ${dead}, pictures and sound go by ${alive}`, async (lab) => {
      const box = await lab.box({ id: '8', ipv6: true });
      await lab.network.setRules(`no ${dead} for media`, [`ether type ${family} meta l4proto udp counter drop comment "${dead}"`]);
      const member = await lab.member('v2', { ipv6: true });
      const startedAt = monotonic();
      await assertBothWays(box, member);
      lab.figure(`${alive.toLowerCase()}-both-ways-after`, monotonic() - startedAt, 'ms');
      assert.ok((await lab.network.counted())[dead] > 0, `nobody tried ${dead}`);
    });
  }

  scenario('on a network without IPv4, server included, a box, another box and a browser meet', async (lab) => {
    const boxes = await lab.boxesWith('8', 'c');
    assert.match(lab.gateway.url, /\/\/\[fd99:/);
    const startedAt = monotonic();
    const member = await lab.member('v2');
    await Promise.all([
      ...boxes.map((box) => assertBothWays(box, member, { memberTone: null })),
      untilBoxSees(boxes[0], boxes[1].user),
      untilBoxSees(boxes[1], boxes[0].user),
    ]);
    lab.figure('ipv6-only-all-see-each-other-after', monotonic() - startedAt, 'ms');
    const candidates = await candidatesOf(lab, boxes[0].user);
    assert.ok(candidates.length > 0 && candidates.every((candidate) => candidate.includes(' fd99:')), candidates.join('\n'));
  }, { families: { ipv4: false, ipv6: true } });

  for (const [id, who] of [['f', 'offers'], ['0', 'answers']]) {
    scenario(`a browser that ${who} and shows nothing but names in .local is met as soon as one that shows its addresses`, async (lab) => {
      const box = await lab.box({ id: '8' });
      const took = {};
      for (const mdns of [false, true]) {
        const member = await lab.member('v2', { id, mdns });
        await member.untilConnected(box.user);
        await assertBothWays(box, member);
        const { created, connectedAt } = (await member.read()).peers[box.user];
        took[mdns] = connectedAt - created;
        const hosts = (await candidatesOf(lab, member.user)).filter((candidate) => candidate.includes('typ host'));
        const hidden = hosts.filter((candidate) => /\S+\.local /.test(candidate));
        // A browser that offers keeps its candidates to itself, but for those in its next description.
        assert.equal(hidden.length, mdns ? hosts.length : 0, hosts.join('\n'));
        if (id === '0') assert.ok(hosts.length > 0);
        lab.figure(`${mdns ? 'local-names' : 'addresses'}-browser-${who}-connected-after`, took[mdns], 'ms');
        await member.close();
        await box.until('it has left', ({ peers }) => !peers.some((peer) => peer.user_id === member.user));
      }
      lab.figure(`local-names-browser-${who}-cost`, took[true] - took[false], 'ms', { most: 1500, goal: 500 });
    });
  }

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
