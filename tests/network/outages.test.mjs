// The box's network is away for a while. Both directions are to be back in time with another box, a V2 and a V1 browser,
// all four in one meeting.

import { suite } from './harness.mjs';
import { mixedMeeting } from './meeting.mjs';
import { judge, outage } from './outage.mjs';

const OUTAGES = [
  ...[2, 5, 10, 30].map((seconds) => ['cable', seconds, `the cable is out for ${seconds} s`]),
  ...[2, 5, 10, 30].map((seconds) => ['silent', seconds, `nothing passes either way for ${seconds} s, and nobody is told`]),
  ['silent-in', 10, 'nothing comes to the box for 10 s, what it sends arrives'],
  ['silent-out', 10, 'nothing of what the box sends arrives for 10 s, the rest comes'],
  ['interface', 5, 'the box’s own interface is down for 5 s'],
];

suite('outages', (scenario) => {
  for (const [kind, seconds, title] of OUTAGES) {
    scenario(title, async (lab) => {
      const { box, others, recorder } = await mixedMeeting(lab);
      const { rows } = await outage(lab, recorder, box, others, kind, seconds);
      judge(lab, `${kind}-${seconds}s`, rows, seconds, { stops: !/-/.test(kind) });
    });
  }
});
