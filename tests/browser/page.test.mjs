// The box's own page in a browser: it shows what the box says, its buttons work, and it says when it knows nothing.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from './harness.mjs';
import { waitFor } from './wait.mjs';

// Into the table [control]; a free port, which the log names.
const PAGE = 'http = "127.0.0.1:0"';

async function open(lab, box) {
  const line = await waitFor('the page’s address in the log', () => box.lines.find((line) => line.includes("the box's page is at")));
  const page = await lab.browser.newPage({ viewport: { width: 1280, height: 800 } });
  const faults = [];
  page.on('pageerror', (error) => faults.push(String(error)));
  // A part that the page's own policy keeps out, too, is told here.
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  await page.goto(line.match(/http:\/\/[^/]+\//)[0]);
  const text = (selector) => page.locator(selector).textContent();
  const pattern = (light) => page.locator(`#led-${light}`).getAttribute('data-pattern');
  return { page, faults, text, pattern };
}

suite('the box’s page', (scenario) => {
  scenario('shows who is there, and its buttons do what the lights then say', async (lab) => {
    const box = await lab.box({ name: 'Room 101', extra: PAGE });
    const { page, faults, text, pattern } = await open(lab, box);
    try {
      const name = '<img src=x onerror=alert(1)> & Söhne';
      const member = await lab.member('good', { size: '320x180', name });
      await member.untilConnected(box.user);
      const tile = `.peer[data-user="${member.user}"]`;
      await waitFor('two are connected', async () => (await text('#count')) === '2 connected');
      await waitFor('the member is connected', async () => (await text(`${tile} .connection`)) === 'connected');
      assert.equal(await text('#name'), 'Room 101');
      assert.equal(await text(`${tile} .name`), name);
      assert.equal(await page.locator(`${tile} img`).count(), 0, 'a name is text');
      assert.equal(await page.locator(`${tile} .badge`).isVisible(), false);
      assert.equal(await text('#banner'), '');
      assert.match(await text('#signaling'), /^In the meeting for \d+ s$/);
      assert.equal(await page.locator('#events [data-event="peer-connected"]').count(), 1);
      await waitFor('the member is heard', async () => (await page.locator(tile).getAttribute('data-heard')) === 'true');

      assert.deepEqual([await pattern('mic'), await pattern('camera'), await pattern('status')], ['green steady', 'green steady', 'green steady']);
      await page.click('#press-mic');
      await waitFor('the microphone’s light is red', async () => (await pattern('mic')) === 'red steady', { within: 2000 });
      assert.equal((await box.status()).microphone.confirmed, true, 'the light tells the truth');
      assert.equal(await page.getAttribute('#press-mic', 'aria-pressed'), 'true');
      assert.equal(await text('#microphone'), 'Muted');
      await waitFor('nothing is sent', async () => (await text('#level-sent output')) === 'silent');
      // By keyboard it opens again.
      await page.focus('#press-mic');
      await page.keyboard.press('Space');
      await waitFor('the microphone’s light is green', async () => (await pattern('mic')) === 'green steady', { within: 2000 });
      await box.ask('camera', { off: true });
      await waitFor('the camera’s light is red', async () => (await pattern('camera')) === 'red steady', { within: 2000 });
      assert.deepEqual(faults, []);
    } finally {
      await page.close();
    }
  });

  scenario('says that the configuration is refused, until it is put right', async (lab) => {
    const box = await lab.box({ installed: true, extra: PAGE });
    box.expectError(/configuration refused/);
    const { page, text } = await open(lab, box);
    try {
      await waitFor('a copy of what was accepted', () => existsSync(join(box.options.directory, 'state/accepted.toml')));
      const right = await readFile(box.configFile, 'utf8');
      await writeFile(box.configFile, right.replace('[video]', '[vidoe]'));
      await waitFor('the complaint', async () => /^configuration refused: .*vidoe.*; its last accepted copy is used instead$/.test(await text('#banner')));
      await writeFile(box.configFile, right);
      await waitFor('no complaint', async () => (await text('#banner')) === '');
    } finally {
      await page.close();
    }
  });

  scenario('says that it lost the box instead of showing what was', async (lab) => {
    const box = await lab.box({ extra: PAGE });
    const { page, text, pattern } = await open(lab, box);
    try {
      await waitFor('the microphone’s light', async () => (await pattern('mic')) === 'green steady');
      box.process.kill('SIGSTOP');
      try {
        await waitFor('its banner', async () => (await text('#lost')) === 'This page lost the box; trying again', { within: 20_000 });
        assert.equal(await pattern('mic'), 'unknown');
        assert.equal(await text('#microphone'), 'unknown');
        assert.equal(await page.locator('#press-mic').isDisabled(), true);
      } finally {
        box.process.kill('SIGCONT');
      }
      await waitFor('the box again', async () => (await text('#lost')) === '' && (await pattern('mic')) === 'green steady');
      await page.click('#press-mic');
      await waitFor('the microphone’s light is red', async () => (await pattern('mic')) === 'red steady');
    } finally {
      await page.close();
    }
  });
});
