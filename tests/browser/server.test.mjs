// The server refuses, forgets, or goes away for a moment.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { suite } from './harness.mjs';
import { assertBothWays } from './measure.mjs';
import { monotonic, observe, waitFor } from './wait.mjs';

const SMALL = { size: '320x180', fps: 10 };
const LIGHT = { video: { width: 320, height: 180, frame_rate: 10, bitrate: 200_000 } };

suite('server', (scenario) => {
  scenario('the connection to the server breaks, and the box comes back to the meeting', async (lab) => {
    const box = await lab.box(LIGHT);
    const member = await lab.member('v2', SMALL);
    await assertBothWays(box, member);
    const joins = lab.gateway.received({ user: box.user, event: 'meeting:join' }).length;
    const brokenAt = monotonic();
    lab.gateway.kill({ user: box.user });
    await waitFor('joined again', () => lab.gateway.received({ user: box.user, event: 'meeting:join' }).length > joins);
    lab.figure('joined-again-after', monotonic() - brokenAt, 'ms');
    // The server told the browser that the box left, so it has closed its connection.
    await member.until('a new connection', ({ peers }) => peers[box.user]?.created > brokenAt && peers[box.user].connectionState === 'connected');
    await assertBothWays(box, member);
    lab.figure('seen-and-heard-again-after', monotonic() - brokenAt, 'ms');
  });

  scenario('the server restarts and has forgotten nobody', async (lab) => {
    const box = await lab.box(LIGHT);
    const member = await lab.member('v2', SMALL);
    await assertBothWays(box, member);
    const restartedAt = monotonic();
    await lab.gateway.restart({ downMs: 500 });
    await box.until('joined', ({ signaling }) => signaling.state === 'joined', 15_000);
    await member.until('a connection', ({ joined, peers }) => joined && peers[box.user]?.connectionState === 'connected', 20_000);
    await assertBothWays(box, member);
    lab.figure('seen-and-heard-after-restart-of-server', monotonic() - restartedAt, 'ms');
  }, { slow: true });

  scenario('a ghost in the roster keeps nobody from anything', async (lab) => {
    lab.gateway.addGhost({ meeting: lab.meeting, user: randomUUID(), mapped: true });
    const box = await lab.box(LIGHT);
    const member = await lab.member('v2', SMALL);
    await assertBothWays(box, member);
    await observe(5000);
    await assertBothWays(box, member);
  }, { slow: true });

  scenario('a wrong token is refused and said so, without hammering the server', async (lab) => {
    lab.gateway.setOptions({ rest: false });
    const box = lab.prepareBox({ ...LIGHT, signaling: 'token_file = "token"' });
    box.expectError(/token|refused|Authentication/i);
    box.give('token', 'not.a.token');
    await box.start();
    await box.until('refused', ({ signaling }) => signaling.state === 'refused');
    const tried = lab.gateway.connected({ user: box.user }).length;
    await observe(3000);
    const again = lab.gateway.connected({ user: box.user }).length;
    assert.ok(again - tried <= 1, `${again - tried} connections in 3 s after the refusal`);
    assert.equal(lab.gateway.received({ user: box.user }).filter(({ dropped }) => !dropped).length, 0);
    await waitFor('the log says so', () => box.lines.some((line) => /refused|Authentication required/i.test(line)));
    lab.gateway.setOptions({ rest: true });
  });
});
