// Malformed events and broken session descriptions by the hundred: the box lives, and its pictures do not stop.

import assert from 'node:assert/strict';
import { monotonic, observe } from '../browser/wait.mjs';
import { suite } from './harness.mjs';
import { everybodySees } from './meeting.mjs';

/** The longest a picture may stay away meanwhile, ms. */
const GAP = 500;
const TIMES = 100;

const EVENTS = [
  'media:offer', 'media:answer', 'media:ice-candidate', 'media:peer-ready', 'media:user-muted', 'media:user-video-off',
  'media:user-screen-share', 'webrtc:offer', 'webrtc:answer', 'webrtc:ice-candidate', 'webrtc:peer-ready', 'webrtc:error',
  'meeting:user-joined', 'meeting:user-left', 'meeting:participants', 'meeting:join-error', 'user:kicked', 'user:blocked',
  'exception', 'no:such:event',
];

/** Payloads that are not what the event says. */
const NONSENSE = [
  null, 0, -1, 1e308, true, '', 'x'.repeat(20_000), [], [[[[]]]], {}, { userId: null }, { userId: 7 }, { userId: {} }, { fromUserId: [] },
  { fromUserId: '', offer: null }, { offer: { type: 'offer' } }, { participants: 'none' }, { participants: [null, 1, {}] },
  { candidate: { candidate: 7 } }, { 'ключ': '\u0000\uffff' },
];

/** Session descriptions that are none, or none that can be answered. */
function brokenDescriptions() {
  const head = 'v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n';
  const audio = 'm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n';
  const credentials = 'a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 ';
  return [
    '', 'v=0', '\u0000', head, 'v=1\r\n', `${head}m=`, `${head}m=audio`, head.replace(/\r/g, ''), `${head}${'a=x\r\n'.repeat(5000)}`,
    `${head}${audio}`, `${head}${audio}a=mid:0\r\na=rtpmap:111 opus/0/0\r\n`, `${head}${audio}a=mid:0\r\n${credentials}zz\r\na=setup:actpass\r\n`,
    `${head}${audio}${audio.repeat(200)}`, `${head}m=audio 99999 UDP 111\r\n`, `${head}m=video 9 UDP/TLS/RTP/SAVPF\r\n`,
  ];
}

const PACKETS = ['42', '42{}', '42[', '42[]', '42[1]', '42["media:offer"]', '42["media:offer",', '43', '4', '99', '', '450-["x"]', '42/nowhere,["x",{}]', '2probe', '3'];

suite('malformed', (scenario) => {
  const started = async (lab) => {
    const [box, other] = await lab.boxesWith('8', '2');
    const member = await lab.member('v2');
    const others = [other, member];
    const recorder = lab.record([box, ...others]);
    await everybodySees(recorder, others.map((each) => [box, each]));
    return { box, others, recorder };
  };

  const judge = async (lab, { box, others, recorder }, name, from) => {
    await observe(2000);
    box.assertRunning();
    const to = monotonic();
    for (const other of others) {
      for (const [receiver, sender, way] of [[box, other, 'in'], [other, box, 'out']]) {
        lab.figure(`${name}-gap-${other.label}-${way}`, recorder.longestGap(receiver, sender, from, to), 'ms', { most: GAP });
      }
    }
    const { peers } = await box.status();
    for (const other of others) assert.equal(peers.find(({ user_id: user }) => user === other.user)?.connection_state, 'connected');
  };

  scenario('events with nonsense in them', async (lab) => {
    const meeting = await started(lab);
    const from = monotonic();
    for (const event of EVENTS) {
      for (const payload of NONSENSE) await lab.gateway.send({ user: meeting.box.user, event, args: [payload], times: TIMES / 20 });
      await lab.gateway.send({ user: meeting.box.user, event, args: [] });
    }
    await judge(lab, meeting, 'nonsense', from);
  });

  scenario('broken descriptions and candidates, from members and from strangers', async (lab) => {
    const meeting = await started(lab);
    const { box, others } = meeting;
    const from = monotonic();
    for (const fromUserId of [...others.map(({ user }) => user), lab.id('e')]) {
      for (const sdp of brokenDescriptions()) {
        for (const [name, content] of [['offer', { offer: { type: 'offer', sdp } }], ['answer', { answer: { type: 'answer', sdp } }], ['ice-candidate', { candidate: { candidate: sdp.slice(0, 200), sdpMid: '9', sdpMLineIndex: 99 } }]]) {
          for (const dialect of ['media', 'webrtc']) await lab.gateway.send({ user: box.user, event: `${dialect}:${name}`, payload: { fromUserId, roomId: lab.meeting, ...content }, times: 2 });
        }
      }
    }
    await judge(lab, meeting, 'broken-sdp', from);
  });

  scenario('packets that are not of the protocol', async (lab) => {
    const meeting = await started(lab);
    const { box } = meeting;
    const from = monotonic();
    for (const text of PACKETS) {
      await lab.gateway.sendText({ user: box.user, text }).catch(() => {});
      await observe(100);
    }
    // Such a packet may cost the session with the server, not the pictures between boxes.
    await box.untilJoined(15_000);
    await judge(lab, { ...meeting, others: meeting.others.slice(0, 1) }, 'packets', from);
  });
});
