// A bad network is no reason to begin anew: nothing is restarted while packets still come.
//   HUDDLED_LOSS_SECONDS  how long each loss lasts (60; the issue asks for 600)

import assert from 'node:assert/strict';
import { monotonic, observe } from '../browser/wait.mjs';
import { suite } from './harness.mjs';
import { everybodySees, mixedMeeting, offersBetween } from './meeting.mjs';

const SECONDS = Number(process.env.HUDDLED_LOSS_SECONDS ?? 60);

suite('loss', (scenario) => {
  for (const percent of [5, 15]) {
    scenario(`${percent} % of the packets lost each way: no restart, no new connection`, async (lab) => {
      const { box, others, recorder } = await mixedMeeting(lab);
      // The browsers may still be busy with the second offers they make of their own accord.
      await observe(2000);
      const from = monotonic();
      await lab.network.lose(box.host, percent);
      await observe(SECONDS * 1000);
      const to = monotonic();
      await lab.network.lose(box.host, 0);
      for (const other of others) {
        const { attempts, connections } = recorder.effort(box, other, from);
        const said = recorder.said(box, other, from);
        assert.equal(connections, 0, `a new connection to ${other.label}: ${JSON.stringify(said)}`);
        assert.equal(attempts, 0, `an attempt at ${other.label}: ${JSON.stringify(said)}`);
        assert.equal(await offersBetween(lab, box, other, from, to), 0, `an offer between the box and ${other.label}`);
        for (const [receiver, sender, way] of [[box, other, 'in'], [other, box, 'out']]) {
          lab.figure(`loss-${percent}-${other.label}-pictures-${way}`, (recorder.arrived(receiver, sender, from, to) * 1000) / (to - from), '/s');
          lab.figure(`loss-${percent}-${other.label}-longest-gap-${way}`, recorder.longestGap(receiver, sender, from, to), 'ms');
          assert.ok(recorder.arrived(receiver, sender, from, to) > SECONDS, `hardly a picture of ${sender.label} at ${receiver.label}`);
        }
      }
      await everybodySees(recorder, others.map((other) => [box, other]), 10_000);
    }, { limit: 60_000 + SECONDS * 1500 });
  }
});
