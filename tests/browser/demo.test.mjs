// What a person sees who types the README's first command: the meeting, the box's own page, its virtual panel.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { chromium } from 'playwright-core';
import { Demo } from './demo.mjs';
import { OUTPUT, suite } from './harness.mjs';
import { observe, waitFor } from './wait.mjs';

const BOX = 'demo-box';
/** Where the pictures of the README go; the ordinary run keeps them with its output. */
const PICTURES = process.env.HUDDLED_PICTURES ?? join(OUTPUT, 'pictures');

async function boxPage(lab, { width = 1000, height = 760, scheme = 'light' } = {}) {
  const context = await lab.browser.newContext({ viewport: { width, height }, colorScheme: scheme });
  const page = await context.newPage();
  await page.goto(lab.gateway.page);
  lab.guests.push({ page, close: () => context.close(), read: () => page.innerText('body'), console: [] });
  return page;
}

const pattern = (page, led) => page.getAttribute(`#led-${led}`, 'data-pattern');
const hasPattern = (page, led, wanted) => waitFor(`the ${led} light shows ${wanted}`, async () => (await pattern(page, led)) === wanted, { state: () => page.innerText('body') });

async function picture(page, name) {
  const path = join(PICTURES, name);
  await mkdir(dirname(path), { recursive: true });
  await page.screenshot({ path });
}

suite('the demo', (scenario) => {
  scenario('a person meets the box, and its panel mutes it', async (lab) => {
    const page = await boxPage(lab);
    await hasPattern(page, 'mic', 'green steady');
    await waitFor('nobody but the box is there', async () => /\b1\b/.test(await page.innerText('#count')));
    const guest = await lab.guest({ name: 'Ada' });
    await guest.untilTestCard(BOX);
    await guest.untilHeard(BOX);
    const peer = page.locator(`.peer[data-user="${guest.user}"]`);
    await peer.waitFor();
    await waitFor('the count', async () => /\b2\b/.test(await page.innerText('#count')));
    assert.match(await peer.innerText(), /Ada/);
    await waitFor('no badge', async () => !(await peer.locator('.badge').isVisible()));

    await page.click('#press-mic');
    await hasPattern(page, 'mic', 'red steady');
    await waitFor('silence from the box', async () => (await guest.peak(BOX)) === 0);
    await guest.until('the tile says muted', ({ peers }) => peers[BOX].muted);
    await page.click('#press-mic');
    await hasPattern(page, 'mic', 'green steady');
    await guest.untilHeard(BOX);

    // By keyboard, too.
    await page.focus('#press-camera');
    await page.keyboard.press('Enter');
    await hasPattern(page, 'camera', 'red steady');
    await guest.until('the tile says camera off', ({ peers }) => peers[BOX].videoOff);
    await page.keyboard.press('Enter');
    await hasPattern(page, 'camera', 'green steady');
    await guest.untilTestCard(BOX);

    // A share: a tile of its own beside the camera's, and the state on the box's page.
    await page.click('#press-share');
    await waitFor('the screen’s tile', () => guest.page.evaluate((id) => document.querySelector(`.tile[data-share="${id}"] video`)?.videoWidth === 1280, BOX));
    await waitFor('the page says so', async () => (await page.innerText('#screen')) === 'Sharing');
    await page.click('#press-share');
    await waitFor('the tile is gone', async () => (await guest.page.locator(`.tile[data-share="${BOX}"]`).count()) === 0);

    await waitFor('a picture of the person on the box’s page', () => page.evaluate(() => [...document.querySelectorAll('.peer img')].some((image) => image.complete && image.naturalWidth > 0)));
    await picture(page, 'box.png');
    await picture(guest.page, 'guest.png');

    await guest.close();
    await waitFor('the person is gone', async () => (await peer.count()) === 0);
  });

  scenario('badges and banners on both pages', async (lab) => {
    const page = await boxPage(lab);
    const guest = await lab.guest({ name: 'Ada' });
    await guest.untilTestCard(BOX);
    const peer = page.locator(`.peer[data-user="${guest.user}"]`);
    await waitFor('connected', async () => (await lab.gateway.status()).connected_peers === 1);
    // The person's browser stops dead: no goodbye, no packets.
    const session = await guest.context.newCDPSession(guest.page);
    const crashed = guest.page.waitForEvent('crash');
    // The page that is asked never answers.
    session.send('Page.crash').catch(() => {});
    await crashed;
    await waitFor('the badge', async () => (await peer.count()) === 0 || (await peer.locator('.badge').innerText()) === 'Reconnecting', { within: 20_000, state: () => page.innerText('body') });
    await waitFor('the person is gone', async () => (await peer.count()) === 0, { within: 40_000, state: () => lab.gateway.status() });
    assert.equal((await lab.gateway.status()).peers.length, 0);
  }, { slow: true });

  scenario('a phone’s width', async (lab) => {
    const page = await boxPage(lab, { width: 360, height: 740, scheme: 'dark' });
    const guest = await lab.guest({ name: 'Ada', width: 360, height: 740, scheme: 'dark' });
    await guest.untilTestCard(BOX);
    for (const each of [page, guest.page]) {
      const { scroll, width } = await each.evaluate(() => ({ scroll: document.documentElement.scrollWidth, width: innerWidth }));
      assert.ok(scroll <= width, `${scroll} pixels wide in ${width}`);
    }
    await picture(page, 'box-phone.png');
    await picture(guest.page, 'guest-phone.png');
  }, { slow: true });

  scenario('foreign pages and names get nothing from the box’s page', async (lab) => {
    const target = lab.gateway.page;
    const evil = createServer((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<title>evil</title>'));
    await new Promise((done) => evil.listen(0, '127.0.0.1', done));
    const rebound = await chromium.launch({
      executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
      args: ['--headless=new', '--no-sandbox', '--host-resolver-rules=MAP evil.example 127.0.0.1', '--disable-background-networking'],
    });
    try {
      const page = await rebound.newPage();
      // Another origin: nothing can be read, and nothing pressed.
      await page.goto(`http://127.0.0.1:${evil.address().port}/`);
      const before = await lab.gateway.status();
      const got = await page.evaluate(async (url) => {
        const attempt = async (path, options) => {
          try {
            const response = await fetch(url + path, options);
            return { status: response.status, text: response.type === 'opaque' ? '' : await response.text() };
          } catch (error) {
            return { error: String(error) };
          }
        };
        const events = await new Promise((done) => {
          const source = new EventSource(`${url}api/events`);
          source.onopen = () => done('open');
          source.onerror = () => { source.close(); done('refused'); };
        });
        return {
          status: await attempt('api/status'),
          opaque: await attempt('api/status', { mode: 'no-cors' }),
          pressed: await attempt('panel/press', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"button":"mic"}' }),
          simple: await attempt('panel/press', { method: 'POST', mode: 'no-cors', body: '{"button":"mic"}' }),
          events,
        };
      }, target);
      assert.ok(got.status.error, JSON.stringify(got));
      assert.equal(got.opaque.text ?? '', '');
      assert.ok(got.pressed.error, JSON.stringify(got));
      assert.equal(got.events, 'refused');
      // A name of theirs that leads to this machine.
      const port = new URL(target).port;
      const response = await page.goto(`http://evil.example:${port}/api/status`);
      assert.equal(response.status(), 403);
      assert.doesNotMatch(await response.text(), /signaling/);
      await observe(300);
      const after = await lab.gateway.status();
      assert.equal(after.microphone.muted, before.microphone.muted);
    } finally {
      await rebound.close();
      evil.close();
    }
  });
}, { server: () => Demo.start() });

suite('the demo ends', (scenario) => {
  for (const signal of ['SIGINT', 'SIGTERM']) {
    scenario(`cleanly on ${signal}`, async () => {
      const demo = await Demo.start();
      await waitFor('the box is in the meeting', async () => (await demo.status()).signaling.state === 'joined');
      const { code, took } = await demo.end(signal);
      assert.equal(code, 0, demo.lines.slice(-10).join('\n'));
      assert.ok(took < 5000, `${took} ms`);
      assert.ok(!existsSync(dirname(demo.socket)), 'its folder is left behind');
      assert.deepEqual(demo.lines.filter((line) => /\b(ERROR|WARN)\b/.test(line) && !/simulated/.test(line)), []);
    });
  }
}, { server: () => Demo.start() });
