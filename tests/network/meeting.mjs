// Meetings that several files need.

import { monotonic } from '../browser/wait.mjs';

/** A box in a meeting with another box, a V2 and a V1 browser, seen by each and seeing each. */
export async function mixedMeeting(lab) {
  const [box, other] = await lab.boxesWith('8', 'c');
  const v2 = await lab.member('v2', { id: 'f' });
  const v1 = await lab.member('v1', { id: '0', beside: v2 });
  const others = [other, v2, v1];
  const recorder = lab.record([box, ...others]);
  await recorder.untilAllBack(others.map((each) => [box, each]), monotonic(), 40_000);
  return { box, others, recorder };
}

/** Every member sees every other one from now on. */
export async function everybodySees(recorder, pairs, within = 40_000) {
  const since = monotonic();
  await recorder.untilAllBack(pairs, since, within);
  return since;
}
