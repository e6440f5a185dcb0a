// Screens both ways: the box's as a third m-line beside its camera, and those of every kind of member, told from their
// cameras in every order of starting. Their shapes tell them apart, since browsers scale what they send: cameras are 16:9 and
// small, the box's screen is 1280x720, the members' screens are 4:3.

import assert from 'node:assert/strict';
import { suite } from './harness.mjs';
import { Hub } from './hub.mjs';
import { assertBothWays } from './measure.mjs';
import { monotonic, observe, waitFor } from './wait.mjs';

const SMALL = { size: '320x180', fps: 10 };
const BOX = { video: { width: 320, height: 180, frame_rate: 10, bitrate: 200_000 }, extra: '[screen]\ndevice = "sim:slides"\n' };
/** A late joiner sees the first picture of a share within this, ms. */
const FIRST_PICTURE = 5000;

const shareOn = (box) => box.ask('share', { on: true });
const shareOff = (box) => box.ask('share', { on: false });

/** The member shows the box's screen, and its pictures go on. */
async function seesBoxScreen(member, box, within = 15_000) {
  const shown = ({ screens }) => screens[box.user]?.picture;
  const before = shown(await member.read())?.frames ?? 0;
  await member.until('shows the screen of the box', (state) => {
    const picture = shown(state);
    return picture?.width === 1280 && picture.height === 720 && picture.frames > before + 3;
  }, within);
  const { remotes } = await member.read();
  assert.equal(remotes[box.user].picture.width, 320, 'the camera stays beside the screen');
}

const isTall = (picture) => picture !== null && Math.abs(picture.width / picture.height - 4 / 3) < 0.05;
const isBoxScreen = (picture) => picture?.width === 1280;
const peerOf = ({ peers }, user) => peers.find((peer) => peer.user_id === user);

/** The box knows that the member shares, and its newest picture of it is the screen's. */
async function boxSeesScreen(box, user, is = isTall) {
  await box.until('the member shares', (status) => peerOf(status, user)?.sharing);
  await waitFor(`the screen of ${user} at the box`, async () => is(await box.picture(user, { screen: true })), { state: () => box.health() });
  assert.ok(!is(await box.picture(user)), 'the camera is not taken for the screen');
}

async function boxSeesNoScreen(box, user) {
  await box.until('the member shares no more', (status) => !peerOf(status, user)?.sharing);
  await waitFor('its last picture is gone', async () => (await box.picture(user, { screen: true })) === null);
}

/** Nobody sends pictures of the box's screen any more: the member's m-line is told so. */
const screenGone = (member, box) => member.until('the m-line of the box’s screen is given up', ({ peers }) => {
  const [, ...others] = peers[box.user].remoteKinds.filter((each) => each.includes(':video:'));
  return others.every((each) => !/:(sendrecv|recvonly)$/.test(each));
});

const announced = (lab, box) => lab.gateway.received({ user: box.user, event: 'media:screen-share' })
  .filter(({ dropped }) => !dropped).map(({ payload }) => payload.isSharing);

const KINDS = [['v2', 'f', 'a V2 browser with the greater id'], ['v2', '0', 'a V2 browser with the smaller id'], ['v1', 'f', 'a V1 browser']];

suite('share', (scenario) => {
  for (const [manner, id, name] of KINDS) {
    scenario(`both ways with ${name}, two at once, and both end`, async (lab) => {
      const box = await lab.box(BOX);
      const member = await lab.member(manner, { id, ...SMALL });
      await assertBothWays(box, member);
      await shareOn(box);
      await seesBoxScreen(member, box);
      await member.call('share');
      await boxSeesScreen(box, member.user);
      await seesBoxScreen(member, box);
      await assertBothWays(box, member);
      const { screen, peers } = await box.status();
      assert.deepEqual(screen, { sharing: true, forced: false });
      assert.equal(peers[0].connection_state, 'connected');
      await member.call('unshare');
      await boxSeesNoScreen(box, member.user);
      await seesBoxScreen(member, box);
      await shareOff(box);
      await screenGone(member, box);
      await waitFor('the end is announced', () => announced(lab, box).length === 3, { state: () => announced(lab, box) });
      assert.deepEqual(announced(lab, box), [false, true, false], 'once each');
      await assertBothWays(box, member);
    }, { slow: id !== 'f' || manner !== 'v2' });

    scenario(`${name} shares first, then the box; ended and begun again`, async (lab) => {
      const box = await lab.box(BOX);
      const member = await lab.member(manner, { id, ...SMALL });
      await assertBothWays(box, member);
      await member.call('share');
      await boxSeesScreen(box, member.user);
      await shareOn(box);
      await seesBoxScreen(member, box);
      await boxSeesScreen(box, member.user);
      await shareOff(box);
      await screenGone(member, box);
      await boxSeesScreen(box, member.user);
      await member.call('unshare');
      await boxSeesNoScreen(box, member.user);
      await shareOn(box);
      await seesBoxScreen(member, box);
      await member.call('share');
      await boxSeesScreen(box, member.user);
      await assertBothWays(box, member);
    }, { slow: true });

    scenario(`${name} comes late, and builds its connection anew while the box shares`, async (lab) => {
      const box = await lab.box(BOX);
      await box.untilJoined();
      await shareOn(box);
      const member = await lab.member(manner, { id, ...SMALL });
      await seesBoxScreen(member, box);
      const { joinedAt, screens } = await member.read();
      lab.figure(`first-screen-${manner}-${id}`, screens[box.user].picture.firstFrameAt - joinedAt, 'ms', { most: FIRST_PICTURE });
      await member.call('rebuild', box.user);
      await observe(500);
      await seesBoxScreen(member, box);
      await shareOff(box);
      await shareOn(box);
      await seesBoxScreen(member, box);
      await assertBothWays(box, member);
    }, { slow: true });
  }

  scenario('two boxes share at once', async (lab) => {
    const one = await lab.box({ id: '3', name: 'One', ...BOX });
    const two = await lab.box({ id: 'c', name: 'Two', ...BOX });
    await one.untilConnected(two.user);
    await Promise.all([shareOn(one), shareOn(two)]);
    await Promise.all([boxSeesScreen(one, two.user, isBoxScreen), boxSeesScreen(two, one.user, isBoxScreen)]);
    await shareOff(two);
    await boxSeesNoScreen(one, two.user);
    await boxSeesScreen(two, one.user, isBoxScreen);
    await shareOn(two);
    await boxSeesScreen(one, two.user, isBoxScreen);
  }, { slow: true });

  scenario('a share outlives the server', async (lab) => {
    const box = await lab.box(BOX);
    const member = await lab.member('v2', SMALL);
    await assertBothWays(box, member);
    await shareOn(box);
    await seesBoxScreen(member, box);
    await lab.gateway.restart();
    await box.until('joined again', ({ signaling }) => signaling.state === 'joined', 30_000);
    await waitFor('the share is said again', () => announced(lab, box).at(-1) === true && announced(lab, box).length >= 3);
    await seesBoxScreen(member, box, 30_000);
  }, { slow: true });

  scenario('a host ends the share within a second, and only a press begins it again', async (lab) => {
    const box = await lab.box(BOX);
    const host = await lab.member('v2', { role: 'host', ...SMALL });
    await assertBothWays(box, host);
    await box.press('share');
    await seesBoxScreen(host, box);
    const orderedAt = monotonic();
    await host.call('emit', 'admin:stop-share-user', { targetUserId: box.user });
    await box.until('ended and forced', ({ screen }) => !screen.sharing && screen.forced, 1000);
    lab.figure('host-stops-share', monotonic() - orderedAt, 'ms', { most: 1000 });
    const { screen_out: { encoded } } = await box.health();
    await screenGone(host, box);
    assert.ok((await box.health()).screen_out.encoded <= encoded + 1, 'nothing more is encoded');
    await assert.rejects(shareOn(box), /press the share button/);
    await box.press('share');
    await seesBoxScreen(host, box);
    assert.equal((await box.status()).screen.forced, false);
  }, { slow: true });

  scenario('a server that allows one share refuses the second, and the box says so', async (lab) => {
    lab.gateway.options.oneShare = true;
    try {
      const box = await lab.box(BOX);
      const member = await lab.member('v2', SMALL);
      await assertBothWays(box, member);
      await member.call('share');
      await boxSeesScreen(box, member.user);
      await shareOn(box);
      const { screen } = await box.until('refused', ({ screen: now }) => now.refused);
      assert.deepEqual(screen, { sharing: false, forced: false, refused: 'Another user is already sharing their screen' });
      await member.call('unshare');
      await boxSeesNoScreen(box, member.user);
      await shareOn(box);
      await seesBoxScreen(member, box);
      assert.equal((await box.status()).screen.refused, undefined);
    } finally {
      lab.gateway.options.oneShare = false;
    }
  }, { slow: true });
});

suite('share on the hub', (scenario) => {
  scenario('both ways with the guest page, and a guest who comes late', async (lab) => {
    const box = await lab.boxOnHub({ name: 'Blue Room', ...BOX });
    const ada = await lab.guest({ name: 'Ada' });
    await ada.untilTestCard(box.user);
    const screenOf = (guest, user) => guest.page.evaluate((id) => {
      const video = document.querySelector(`.tile[data-share="${CSS.escape(id)}"] video`);
      return video && { width: video.videoWidth, frames: video.getVideoPlaybackQuality().totalVideoFrames };
    }, user);
    const sees = (guest) => waitFor(`${guest.name} sees the screen`, async () => {
      const before = await screenOf(guest, box.user);
      await observe(300);
      const now = await screenOf(guest, box.user);
      return before?.width === 1280 && now?.frames > before.frames;
    }, { state: () => guest.read() });
    await shareOn(box);
    await sees(ada);
    const cameAt = monotonic();
    const bob = await lab.guest({ name: 'Bob' });
    await sees(bob);
    lab.figure('first-screen-guest', monotonic() - cameAt, 'ms');
    // What a person picks in the browser's dialog.
    await ada.page.evaluate(() => {
      const canvas = document.createElement('canvas');
      Object.assign(canvas, { width: 480, height: 360 });
      const context = canvas.getContext('2d');
      let turn = 0;
      setInterval(() => {
        context.fillStyle = `hsl(${(turn += 20)} 80% 50%)`;
        context.fillRect(0, 0, 480, 360);
      }, 200);
      navigator.mediaDevices.getDisplayMedia = async () => canvas.captureStream();
    });
    await ada.page.click('#share');
    await box.until('Ada shares', (status) => peerOf(status, ada.user)?.sharing);
    await waitFor('her screen at the box', async () => isTall(await box.picture(ada.user, { screen: true })), { state: () => box.health() });
    await sees(ada);
    await ada.page.click('#share');
    await boxSeesNoScreen(box, ada.user);
    await shareOff(box);
    await waitFor('the tile is gone', async () => (await screenOf(bob, box.user)) === null);
    await ada.untilTestCard(box.user);
  }, { slow: true });
}, { server: () => Hub.start() });
