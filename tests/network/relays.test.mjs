// Meetings through firewalls: no member reaches another straight, only the server and a TURN server (coturn, on a host of its own),
// or nothing but a proxy. What a relay, its restart and a mistake in its settings mean for picture and sound.

import assert from 'node:assert/strict';
import { monotonic, observe, waitFor } from '../browser/wait.mjs';
import { makeCertificate } from '../browser/turn.mjs';
import { pairsOf, suite } from './harness.mjs';
import { PASSWORD, assertAllBothWays, countProxied, countWays, prepareRelayed, requirePrograms, startProxy, startTurn, told, toneFor } from './relay.mjs';
import { nameOf } from './recorder.mjs';

requirePrograms('turnserver', 'turnutils_uclient', 'tinyproxy', 'squid', 'openssl');

/** Issue 5: a relay that was lost is used again. */
const BACK = 5000;

/** A box behind a firewall that lets it reach the server and the relay; `udp`: whether by datagrams as well. */
async function enclosedBox(lab, turn, { udp, ...how }) {
  const box = await prepareRelayed(lab, turn, { microphone: toneFor(lab.boxes.length), ...how });
  await lab.network.enclose(box.host, [lab.serverHost, turn.host], { udp });
  return box;
}

/** A browser that reaches the server and the relay. It knows of no relay itself, as the application's do not. */
function enclosedMember(lab, turn, options) {
  return lab.member('v2', { ...options, fence: (host) => lab.network.enclose(host, [lab.serverHost, turn.host]) });
}

suite('relays', (scenario) => {
  for (const transport of ['udp', 'tcp', 'tls']) {
    scenario(`two boxes and a browser meet over ${transport} through firewalls, and again after the relay has restarted`, async (lab) => {
      const turn = await startTurn(lab);
      const udp = transport === 'udp';
      const boxes = [await enclosedBox(lab, turn, { transport, udp, id: '8' }), await enclosedBox(lab, turn, { transport, udp, id: 'c' })];
      await countWays(lab, boxes[0], turn);
      const member = await enclosedMember(lab, turn);
      const startedAt = monotonic();
      await Promise.all(boxes.map((box) => box.start()));
      const pairs = pairsOf([...boxes, member]);
      await assertAllBothWays(pairs, 45_000);
      lab.figure(`relay-${transport}-both-ways-after`, monotonic() - startedAt, 'ms');
      const counts = await lab.network.counted();
      for (const way of ['out', 'in']) assert.ok(counts[`${transport} ${way}`] > 40, `hardly a packet ${transport} ${way}: ${JSON.stringify(counts)}`);
      const recorder = lab.record([...boxes, member]);
      await recorder.untilAllBack(pairs, monotonic(), 20_000);
      await turn.close();
      await turn.launch();
      const upAt = monotonic();
      // What coturn had under way when it was killed does not count.
      await Promise.allSettled([recorder.untilAllBack(pairs, upAt + 500, 45_000)]);
      for (const [one, other] of pairs) {
        for (const [receiver, sender] of [[one, other], [other, one]]) {
          const backAt = recorder.backAt(receiver, sender, upAt + 500) ?? Infinity;
          lab.figure(`relay-${transport}-restarted-${nameOf(receiver)}-sees-${nameOf(sender)}`, backAt - upAt, 'ms', { most: 15_000, goal: BACK });
        }
      }
      await assertAllBothWays(pairs);
      for (const box of boxes) assert.ok(!box.lines.some((line) => line.includes(PASSWORD)), 'the password is in a log');
    }, { limit: 150_000 });
  }

  for (const [id, who] of [['f', 'offers'], ['0', 'answers']]) {
    scenario(`a box that may only be relayed meets a browser that ${who}, and shows it no address of its own`, async (lab) => {
      const turn = await startTurn(lab);
      const box = await enclosedBox(lab, turn, { transport: 'udp', relayOnly: true, id: '8' });
      const member = await enclosedMember(lab, turn, { id });
      const startedAt = monotonic();
      await box.start();
      await assertAllBothWays([[box, member]], 30_000);
      lab.figure(`relay-only-browser-${who}-both-ways-after`, monotonic() - startedAt, 'ms');
      // What a candidate of the box's own address would bring about, from both sides.
      const counts = await lab.network.counted();
      assert.equal(counts[`refused ${box.host.name}`] + counts[`refused ${member.host.name}`], 0, JSON.stringify(counts));
      const shown = (await lab.gateway.received({ user: box.user })).map(({ payload }) => JSON.stringify(payload ?? {})).filter((text) => text.includes(box.host.address));
      assert.deepEqual(shown, []);
    });
  }

  for (const program of ['tinyproxy', 'squid']) {
    scenario(`a box that reaches nothing but a proxy (${program}) meets a browser over TLS, and again after the proxy has restarted`, async (lab) => {
      const turn = await startTurn(lab);
      const proxy = await startProxy(lab, program);
      const box = await prepareRelayed(lab, turn, { transport: 'tls', proxy, id: '8', microphone: toneFor(0) });
      // Signaling goes straight, see docs/network.md.
      await lab.network.enclose(box.host, [lab.serverHost, proxy.host], { udp: false });
      await countProxied(lab, proxy, turn);
      const member = await enclosedMember(lab, turn);
      const startedAt = monotonic();
      await box.start();
      await assertAllBothWays([[box, member]], 30_000);
      lab.figure(`relay-${program}-both-ways-after`, monotonic() - startedAt, 'ms');
      const counts = await lab.network.counted();
      for (const way of ['out', 'in']) assert.ok(counts[`proxy ${way}`] > 40, `hardly a packet by the proxy: ${JSON.stringify(counts)}`);
      const recorder = lab.record([box, member]);
      await recorder.untilAllBack([[box, member]], monotonic(), 20_000);
      await proxy.close();
      await proxy.launch();
      const upAt = monotonic();
      await Promise.allSettled([recorder.untilAllBack([[box, member]], upAt + 500, 45_000)]);
      for (const [receiver, sender] of [[box, member], [member, box]]) {
        lab.figure(`relay-${program}-restarted-${nameOf(receiver)}-sees-${nameOf(sender)}`, (recorder.backAt(receiver, sender, upAt + 500) ?? Infinity) - upAt, 'ms', { most: 15_000, goal: BACK });
      }
    });
  }

  scenario('a wrong password, a wrong certificate, a proxy that refuses and one that asks for a password are said once each, with what to do', async (lab) => {
    const turn = await startTurn(lab);
    const strict = await startProxy(lab, 'tinyproxy', { port: 443 });
    const locked = await startProxy(lab, 'squid', { passwords: true });
    const elsewhere = await makeCertificate(lab.directory, 'elsewhere.huddled.test');
    // [what the box is given, what it says, once]
    const mistakes = [
      [{ transport: 'udp', password: 'wrong horse' }, /ERROR.*refuses user and password \(401\); correct username and credential_file/],
      [{ transport: 'tls', password: 'wrong horse' }, /ERROR.*refuses user and password \(401\); correct username and credential_file/],
      [{ transport: 'tls', ca: elsewhere.ca }, /ERROR.*certificate is refused.*: give the certificate of its authority as ca_file/],
      [{ transport: 'tls', proxy: strict }, /ERROR.*refuses a connection to \S+:5349 \(HTTP 403\); allow CONNECT to port 5349/],
      [{ transport: 'tls', proxy: locked }, /ERROR.*asks for a password \(HTTP 407\).*let this box through/],
    ];
    const boxes = [];
    for (const [how, said] of mistakes) {
      const box = await enclosedBox(lab, turn, how);
      await lab.network.enclose(box.host, [lab.serverHost, turn.host, strict.host, locked.host]);
      box.expectError(said);
      boxes.push(box);
    }
    await Promise.all(boxes.map((box) => box.start()));
    await Promise.all(boxes.map((box, index) => waitFor(`${box.label} says what is wrong`, () => told(box, mistakes[index][1]).length, { within: 30_000, state: () => box.lines.slice(-10) })));
    // Each tries again and again with each of the others meanwhile.
    await observe(15_000);
    for (const [index, box] of boxes.entries()) {
      const lines = told(box, mistakes[index][1]);
      assert.equal(lines.length, 1, lines.join('\n'));
      assert.equal((await box.status()).connected_peers, 0);
      const [relay] = (await box.health()).relays;
      assert.equal(relay.url, turn.url(mistakes[index][0].transport));
      assert.equal(relay.works, false);
      assert.ok(lines[0].endsWith(`${relay.url}: ${relay.problem}`), `${relay.problem} is not what the log says: ${lines[0]}`);
      assert.ok(!box.lines.some((line) => line.includes('wrong horse')), 'the password is in a log');
    }
  });
});
