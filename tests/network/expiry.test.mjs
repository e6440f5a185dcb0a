// A call that lasts longer than the relay's passwords: `make expiry`, about 4 minutes.
//   HUDDLED_EXPIRY_SECONDS  how long the call goes on (180)

import assert from 'node:assert/strict';
import { monotonic, observe } from '../browser/wait.mjs';
import { pairsOf, suite } from './harness.mjs';
import { SECRET, assertAllBothWays, countWays, isServed, prepareRelayed, requirePrograms, shortLived, startTurn, toneFor } from './relay.mjs';
import { nameOf } from './recorder.mjs';

requirePrograms('turnserver', 'turnutils_uclient', 'openssl');

const SECONDS = Number(process.env.HUDDLED_EXPIRY_SECONDS ?? 180);
/** Of a password, ms. */
const LIFETIME = 60_000;
/** The longest time without a picture that is no drop, ms: a busy machine makes seconds of its own, and what is made anew is counted. */
const GAP = { most: 5000, goal: 1000 };

suite('expiry', (scenario) => {
  scenario(`a relayed call of ${SECONDS} s outlasts its passwords of ${LIFETIME / 1000} s, over TCP and over UDP`, async (lab) => {
    // An allocation of 40 s is gone long before the end if a refresh is refused; a nonce of 50 s has it refused once in a while (438).
    const turn = await startTurn(lab, { login: 'short', options: ['--max-allocate-lifetime=40', '--stale-nonce=50'] });
    const boxes = [];
    for (const [index, transport] of ['tcp', 'udp'].entries()) {
      const box = await prepareRelayed(lab, turn, { transport, lifetime: LIFETIME, id: ['8', 'c'][index], microphone: toneFor(index) });
      await lab.network.enclose(box.host, [lab.serverHost, turn.host], { udp: transport === 'udp' });
      boxes.push(box);
    }
    await countWays(lab, boxes[0], turn);
    const member = await lab.member('v2', { fence: (host) => lab.network.enclose(host, [lab.serverHost, turn.host]) });
    await Promise.all(boxes.map((box) => box.start()));
    const pairs = pairsOf([...boxes, member]);
    await assertAllBothWays(pairs, 45_000);

    // The server does refuse a password whose time is over, and takes one whose time is not.
    const now = Math.floor(Date.now() / 1000);
    const fresh = await isServed(member.host, turn, shortLived(now + 60));
    assert.ok(fresh.served, fresh.said);
    const stale = await isServed(member.host, turn, shortLived(now - 1));
    assert.ok(!stale.served, stale.said);

    const recorder = lab.record([...boxes, member]);
    await recorder.untilAllBack(pairs, monotonic(), 20_000);
    const from = monotonic();
    const before = await lab.network.counted();
    await observe(SECONDS * 1000);
    const to = monotonic();
    for (const [one, other] of pairs) {
      for (const [receiver, sender] of [[one, other], [other, one]]) {
        const gap = recorder.longestGap(receiver, sender, from, to);
        lab.figure(`expiry-longest-gap-${nameOf(receiver)}-sees-${nameOf(sender)}`, gap, 'ms', GAP);
      }
    }
    for (const box of boxes) {
      for (const other of [...boxes, member].filter((each) => each !== box)) {
        const { attempts, connections } = recorder.effort(box, other, from);
        assert.deepEqual([attempts, connections], [0, 0], `${box.label} with ${nameOf(other)}: ${JSON.stringify(recorder.said(box, other, from))}`);
      }
      assert.ok(!box.lines.some((line) => line.includes(SECRET)), 'the secret is in a log');
    }
    await assertAllBothWays(pairs);
    // All of it went through the relay to the end.
    const after = await lab.network.counted();
    for (const way of ['tcp out', 'tcp in']) {
      const rate = (after[way] - before[way]) / SECONDS;
      lab.figure(`expiry-packets-${way.replace(' ', '-')}`, rate, '/s');
      assert.ok(rate > 20, `${way}: ${rate} packets/s`);
    }

    // The relay was as strict as it was told to be: it refused requests for an old nonce (its lifetimes bind who asks for longer ones).
    const refused = turn.log().match(/error 438/g)?.length ?? 0;
    lab.figure('expiry-refused-for-an-old-nonce', refused, 'requests');
    assert.ok(refused > 0, 'no request was refused for an old nonce');

    // Who comes now is served with a password of now.
    const late = await lab.member('v2', { id: 'e', beside: member });
    await assertAllBothWays([[boxes[0], late]], 30_000);
    const expiries = new Set([...turn.log().matchAll(/user <(\d+):room-101>: incoming packet ALLOCATE processed, success/g)].map(([, expiry]) => Number(expiry)));
    assert.ok(Math.max(...expiries) - Math.min(...expiries) > SECONDS / 2, `users that were served: ${[...expiries]}`);
  }, { limit: 120_000 + SECONDS * 1000 });
});
