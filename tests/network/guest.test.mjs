// A person's browser on the hub whose network goes away: the hub with a certificate of its own, because it is reached from
// another machine.

import { GuestPage } from '../browser/guest.mjs';
import { Hub } from '../browser/hub.mjs';
import { monotonic, observe, waitFor } from '../browser/wait.mjs';
import { suite } from './harness.mjs';

/** Both directions are back within this after an outage of up to 10 s. */
const BACK = 5000;

// A box and a person in a meeting on a hub, each on a host of its own.
async function onHub(lab, hub) {
  const box = await lab.prepareBox({ url: hub.url, meeting: 'main', signaling: 'token_file = "token"\nca_file = "ca.pem"' });
  box.give('token', await hub.token(box.user));
  box.give('ca.pem', await hub.certificate());
  await box.start();
  const { host, browser } = await lab.browserHost();
  const guest = await GuestPage.open(browser, hub.guestLink(), { name: 'Ada' });
  lab.guests.push(guest);
  await guest.enter();
  await guest.untilTestCard(box.user);
  return { box, guest, host };
}

// New pictures of the person, counted by the box.
async function boxSees(box, user) {
  const first = await box.pictureBytes(user);
  await waitFor('the box sees the person', async () => {
    const next = await box.pictureBytes(user);
    return next && !first?.equals(next);
  }, { within: 30_000 });
}

suite('a person on the hub', (scenario) => {
  for (const seconds of [3, 10]) {
    scenario(`loses the network for ${seconds} s and comes back`, async (lab) => {
      const host = await lab.network.host('hub');
      const hub = await Hub.start({ address: host.address, port: 8443, tls: 'self-signed', prefix: host.prefix });
      try {
        const { box, guest, host: web } = await onHub(lab, hub);
        await boxSees(box, guest.user);
        const downAt = await lab.network.cut(web);
        await waitFor('the box shows it', async () => (await box.status()).peers[0]?.badge === 'Reconnecting', { within: 1000 * seconds });
        // The page goes by the browser's own state, which takes some seconds more.
        if (seconds > 5) await waitFor('the page shows it', async () => (await guest.badge(box.user)) === 'Reconnecting', { within: 1000 * seconds });
        await observe(Math.max(0, downAt + 1000 * seconds - monotonic()));
        const upAt = await lab.network.mend(web);
        await Promise.all([
          guest.untilTestCard(box.user, 30_000).then(() => lab.figure(`guest-${seconds}s-sees-the-box-after`, monotonic() - upAt, 'ms', { most: BACK })),
          boxSees(box, guest.user).then(() => lab.figure(`guest-${seconds}s-is-seen-after`, monotonic() - upAt, 'ms', { most: BACK })),
        ]);
        await waitFor('no badge and no banner is left', async () => (await guest.badge(box.user)) === '' && (await guest.banner()) === '' && (await box.status()).banner === null, { within: 20_000, state: () => guest.read() });
      } finally {
        // Its members first, or they would complain of it.
        await guestsGo(lab);
        await hub.close();
      }
    });
  }

  scenario('keeps picture and sound while the hub is unreachable for 6 s', async (lab) => {
    const host = await lab.network.host('hub');
    const hub = await Hub.start({ address: host.address, port: 8443, tls: 'self-signed', prefix: host.prefix });
    try {
      const { box, guest } = await onHub(lab, hub);
      await boxSees(box, guest.user);
      const recorder = lab.record([box]);
      await recorder.untilBack(box, guest, monotonic(), 10_000);
      const from = monotonic();
      await lab.network.cut(host);
      let frozen = 0;
      let last = { counter: (await guest.picture(box.user))?.counter, at: monotonic() };
      const watch = async (until) => {
        while (monotonic() < until) {
          const counter = (await guest.picture(box.user))?.counter;
          if (counter !== undefined && counter !== last.counter) last = { counter, at: monotonic() };
          else frozen = Math.max(frozen, monotonic() - last.at);
          await observe(30);
        }
      };
      await watch(from + 6000);
      const upAt = await lab.network.mend(host);
      await watch(upAt + 1000);
      await box.untilJoined(15_000);
      await watch(monotonic() + 3000);
      lab.figure('hub-away-gap-guest-sees-the-box', frozen, 'ms', { most: 500 });
      lab.figure('hub-away-gap-box-sees-the-guest', recorder.longestGap(box, guest, from, monotonic()), 'ms', { most: 500 });
      lab.figure('hub-away-new-connections', recorder.effort(box, guest, from).connections, 'connections', { most: 0 });
      await waitFor('no banner is left', async () => (await guest.banner()) === '' && (await box.status()).banner === null, { within: 20_000, state: () => guest.read() });
    } finally {
      await guestsGo(lab);
      await hub.close();
    }
  });
});

async function guestsGo(lab) {
  await Promise.all(lab.guests.map((guest) => guest.close()));
  await Promise.all(lab.boxes.map((box) => box.stop()));
}
