// STUN and TURN with coturn: a box that may use nothing but relayed candidates is seen and heard, over UDP, TCP and TLS, by
// a proxy, after the relay's restart, with passwords that expire; and what is wrong is said once, with what to do.

import assert from 'node:assert/strict';
import { suite } from './harness.mjs';
import { assertBothWays } from './measure.mjs';
import { freePort, makeCertificate, startProxy, startTurnServer } from './turn.mjs';
import { observe, waitFor } from './wait.mjs';

const USER = 'room';
const PASSWORD = 'correct horse battery';
const FIXED = ['--lt-cred-mech', '--user', `${USER}:${PASSWORD}`];
const VIDEO = { width: 320, height: 180, frame_rate: 10, bitrate: 150_000 };
// With the smaller id, so that the box offers: V2 throws away those of its own candidates that come before an answer to its
// offer, and without a candidate of the browser's a relay lets nothing of it through (RFC 8656, 9).
const SMALL = { size: '320x180', fps: 10, id: '0' };
const SCHEMES = {
  udp: (port) => `turn:127.0.0.1:${port}?transport=udp`,
  tcp: (port) => `turn:127.0.0.1:${port}?transport=tcp`,
  tls: (port) => `turns:localhost:${port}?transport=tcp`,
};

/** A box that may be relayed only, by the server of `url`. */
async function relayedBox(lab, url, { password = PASSWORD, ca, proxy, server = '', files = {}, ...options } = {}) {
  const fixed = `username = "${USER}"\ncredential_file = "turn-password"\n`;
  const box = lab.prepareBox({
    video: VIDEO,
    extra: `[ice]
relay_only = true
${proxy ? `proxy = "${proxy}"\n` : ''}
[[ice_servers]]
urls = ["${url}"]
${server || fixed}${ca ? `ca_file = "${ca}"\n` : ''}`,
    ...options,
  });
  for (const [name, text] of Object.entries({ 'turn-password': `${password}\n`, ...files })) box.give(name, text);
  return box.start();
}

/** Starts what `body` needs and ends it whatever happens. */
async function within(starting, body) {
  const things = [];
  try {
    const keep = async (thing) => {
      things.unshift(await thing);
      return things[0];
    };
    await starting(keep).then(body);
  } finally {
    for (const thing of things) await thing.close();
  }
}

const told = (box, pattern) => box.lines.filter((line) => pattern.test(line));

/** What coturn counted: without allocations and permissions nothing of it went through it. */
function assertRelayed(turn, box) {
  assert.match(turn.log(), /ALLOCATE processed, success/);
  assert.match(turn.log(), /CHANNEL_BIND processed, success|CREATE_PERMISSION processed, success/);
  assert.ok(!box.lines.some((line) => line.includes(PASSWORD)), 'the password is in a log');
}

suite('relay', (scenario) => {
  scenario('two boxes that may only be relayed see and hear each other through coturn', async (lab) => {
    await within((keep) => keep(startTurnServer({ transport: 'udp', options: FIXED })), async (turn) => {
      const one = await relayedBox(lab, SCHEMES.udp(turn.port), { id: '1', microphone: 'sim:tone:440' });
      const two = await relayedBox(lab, SCHEMES.udp(turn.port), { id: 'e', microphone: 'sim:tone:660' });
      await one.untilConnected(two.user, 30_000);
      await waitFor('a picture of the other box', async () => (await one.picture(two.user))?.strip, { within: 15_000 });
      await waitFor('the other box is heard', async () => Math.abs((await one.health()).peers_in[0]?.audio.frequency_hz - 660) < 10, { within: 15_000 });
      assertRelayed(turn, one);
      assertRelayed(turn, two);
    });
  }, { slow: true });

  for (const transport of ['udp', 'tcp', 'tls']) {
    scenario(`a box that may only be relayed over ${transport} and a browser see and hear each other`, async (lab) => {
      const certificate = await makeCertificate(lab.directory);
      await within((keep) => keep(startTurnServer({ transport, certificate, options: FIXED })), async (turn) => {
        const member = await lab.member('v2', SMALL);
        const box = await relayedBox(lab, SCHEMES[transport](turn.port), { ca: certificate.ca });
        await assertBothWays(box, member);
        assertRelayed(turn, box);
        if (transport !== 'udp') assert.equal(told(box, /the relay works/).length, 1);
        // Its connection to the relay ends with the member's.
        await member.close();
        await waitFor('the allocation is given back', () => /REFRESH processed, success/.test(turn.log()), { within: 15_000, state: () => turn.log().slice(-1500) });
      });
    }, { slow: true });
  }

  scenario('a box and a browser see and hear each other over TLS by a proxy', async (lab) => {
    const certificate = await makeCertificate(lab.directory);
    await within(async (keep) => [
      await keep(startTurnServer({ transport: 'tls', certificate, options: FIXED })),
      await keep(startProxy()),
    ], async ([turn, proxy]) => {
      const member = await lab.member('v2', SMALL);
      const box = await relayedBox(lab, SCHEMES.tls(turn.port), { ca: certificate.ca, proxy: proxy.url });
      await assertBothWays(box, member);
      assertRelayed(turn, box);
      assert.ok(proxy.asked.length > 0 && proxy.asked.every((asked) => asked === `localhost:${turn.port}`), proxy.asked.join());
    });
  }, { slow: true });

  for (const transport of ['udp', 'tls']) {
    scenario(`a relay over ${transport} that restarts is used again`, async (lab) => {
      const certificate = await makeCertificate(lab.directory);
      await within((keep) => keep(startTurnServer({ transport, certificate, options: FIXED })), async (turn) => {
        const member = await lab.member('v2', SMALL);
        const box = await relayedBox(lab, SCHEMES[transport](turn.port), { ca: certificate.ca });
        await assertBothWays(box, member);
        const restartedAt = performance.now();
        await turn.close();
        await turn.launch();
        const counter = (await member.read()).remotes[box.user].picture.counter;
        await member.until('the picture goes on', ({ remotes }) => remotes[box.user]?.picture.counter > counter + 20, 90_000);
        await assertBothWays(box, member);
        lab.figure(`seen-again-after-restart-of-relay-${transport}`, performance.now() - restartedAt, 'ms');
      });
    }, { slow: true, limit: 180_000 });
  }

  for (const transport of ['udp', 'tls']) {
    scenario(`a call over ${transport} outlasts its short-lived password, and who comes later gets a new one`, async (lab) => {
      const secret = 'north by northwest';
      const certificate = await makeCertificate(lab.directory);
      // An allocation of 40 s is dead long before the end if its refreshes are refused after the password's end.
      const options = ['--use-auth-secret', '--static-auth-secret', secret, '--max-allocate-lifetime=40', '--stale-nonce=50'];
      await within((keep) => keep(startTurnServer({ transport, certificate, options })), async (turn) => {
        const member = await lab.member('v2', SMALL);
        const relayed = await relayedBox(lab, SCHEMES[transport](turn.port), {
          ca: certificate.ca,
          server: 'username = "room-101"\nsecret_file = "turn-secret"\nsecret_lifetime_ms = 60000\n',
          files: { 'turn-secret': `${secret}\n` },
        });
        await assertBothWays(relayed, member);
        const { created } = (await member.read()).peers[relayed.user];
        for (let spell = 0; spell < 14; spell += 1) {
          const { counter } = (await member.read()).remotes[relayed.user].picture;
          await observe(10_000);
          await member.until('the picture goes on', ({ remotes }) => remotes[relayed.user].picture.counter > counter + 50, 2000);
          await member.untilTone(relayed.user, 440, 2000);
        }
        assert.equal((await member.read()).peers[relayed.user].created, created, 'the connection was made anew');
        const late = await lab.member('v2', { ...SMALL, id: '1' });
        await relayed.untilConnected(late.user, 60_000);
        await assertBothWays(relayed, late);
        const users = new Set([...turn.log().matchAll(/user <(\d+):room-101>: incoming packet ALLOCATE processed, success/g)].map(([, expiry]) => expiry));
        assert.ok(users.size >= 2, `users: ${[...users]}`);
        assert.ok(!relayed.lines.some((line) => line.includes(secret)), 'the secret is in a log');
      });
    }, { slow: true, limit: 240_000 });
  }

  for (const transport of ['udp', 'tls']) {
    scenario(`a wrong password over ${transport} connects nobody, is said once, and does not disturb the others`, async (lab) => {
      const certificate = await makeCertificate(lab.directory);
      await within((keep) => keep(startTurnServer({ transport, certificate, options: FIXED })), async (turn) => {
        const good = await lab.box({ id: '1', video: VIDEO });
        const other = await lab.box({ id: '2', video: VIDEO });
        await good.untilConnected(other.user);
        const wrong = await relayedBox(lab, SCHEMES[transport](turn.port), { id: 'e', password: 'wrong horse', ca: certificate.ca });
        wrong.expectError(/refuses user and password/);
        await wrong.untilJoined(30_000);
        await waitFor('it is said', () => told(wrong, /ERROR.*refuses user and password \(401\); correct username and credential_file/).length, { within: 20_000, state: () => turn.log().slice(-1500) });
        // Another member is another connection, which is refused as well.
        const third = await lab.box({ id: '3', video: VIDEO });
        await good.untilConnected(third.user);
        await observe(5000);
        assert.equal(told(wrong, /refuses user and password/).length, 1);
        assert.equal((await wrong.status()).connected_peers, 0);
        assert.ok((await good.status()).peers.some((peer) => peer.user_id === other.user && peer.connection_state === 'connected'));
        assert.ok(!wrong.lines.some((line) => line.includes('wrong horse')), 'the password is in a log');
      });
    }, { slow: true });
  }

  // [what, what is said, what the box is given]
  const WRONG = [
    ['a certificate of an unknown authority', /ERROR.*certificate is refused.*: give the certificate of its authority as ca_file/, () => ({})],
    ['a certificate for another name', /ERROR.*certificate is refused.*not made out for localhost/, ({ elsewhere }) => ({ ca: elsewhere.ca, certificate: elsewhere })],
    ['a proxy that refuses', /ERROR.*refuses a connection to localhost:\d+ \(HTTP 403\); allow CONNECT to port/, ({ certificate, proxy }) => ({ ca: certificate.ca, proxy: proxy.url })],
    ['a proxy that is not there', /WARN.*the proxy 127\.0\.0\.1:\d+ cannot be reached: Connection refused.*check \[ice\] proxy/, ({ certificate, nobody }) => ({ ca: certificate.ca, proxy: `http://127.0.0.1:${nobody}` })],
    ['a server that is not there', /WARN.*cannot be reached: Connection refused.*firewall/, ({ certificate, nobody }) => ({ ca: certificate.ca, port: nobody })],
  ];
  for (const [what, said, how] of WRONG) {
    scenario(`${what} is said once, with what to do`, async (lab) => {
      const certificate = await makeCertificate(lab.directory);
      const elsewhere = await makeCertificate(lab.directory, 'elsewhere.huddled.test');
      await within(async (keep) => {
        const proxy = await keep(startProxy({ allows: () => false }));
        const given = how({ certificate, elsewhere, proxy, nobody: await freePort() });
        const turn = await keep(startTurnServer({ transport: 'tls', certificate: given.certificate ?? certificate, options: FIXED }));
        return { given, turn };
      }, async ({ given: { ca, proxy, port }, turn }) => {
        const others = [await lab.box({ id: '1', video: VIDEO }), await lab.box({ id: '2', video: VIDEO })];
        const box = await relayedBox(lab, SCHEMES.tls(port ?? turn.port), { id: 'e', ca, proxy });
        box.expectError(said);
        await box.untilJoined(30_000);
        await waitFor('it is said', () => told(box, said).length, { within: 20_000, state: () => box.lines.slice(-20) });
        await observe(8000);
        assert.equal(told(box, said).length, 1, told(box, said).join('\n'));
        assert.equal((await box.status()).connected_peers, 0);
        assert.ok((await others[0].status()).peers.some((peer) => peer.user_id === others[1].user && peer.connection_state === 'connected'));
        assert.doesNotMatch(turn.log(), /ALLOCATE processed, success/);
      });
    }, { slow: true });
  }
});
