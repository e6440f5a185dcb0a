// `make chaos`: outages of several lengths and kinds, each in a meeting of its own, as a table. Prints, and demands nothing.
//
//   node tests/network/chaos.mjs [--kinds cable,silent] [--seconds 2,5,10,30] [--rounds 1]
//
// One row is one pair: when the first new picture came after link-up in each direction, how long each direction went without
// a picture in all, the highest attempt the box showed and the connections it made. Of several rounds the worst is printed.

import { runOnce } from '../browser/harness.mjs';
import { NetworkLab, weigh } from './harness.mjs';
import { mixedMeeting } from './meeting.mjs';
import { requireNetworks, sweep } from './namespaces.mjs';
import { KINDS, limits, outage } from './outage.mjs';

const options = { kinds: 'cable,silent', seconds: '2,5,10,30', rounds: '1' };
for (let i = 2; i < process.argv.length; i += 2) {
  const name = process.argv[i].replace(/^--/, '');
  if (!(name in options) || process.argv[i + 1] === undefined) throw new Error(`--kinds, --seconds or --rounds with a value, not ${process.argv[i]}`);
  options[name] = process.argv[i + 1];
}
const kinds = options.kinds.split(',');
const strange = kinds.filter((kind) => !(kind in KINDS));
if (strange.length > 0) throw new Error(`no such kind: ${strange}; there are ${Object.keys(KINDS)}`);

requireNetworks();
sweep();
weigh();

const HEAD = ['outage', 'pair', 'box sees, s', 'other sees, s', 'attempts', 'connections', 'gap at box, s', 'gap at other, s', ''];
const inSeconds = (value) => (Number.isFinite(value) ? (value / 1000).toFixed(2) : 'never');
const print = (cells) => console.log(`| ${cells.join(' | ')} |`);

print(HEAD);
print(HEAD.map(() => '---'));
for (const kind of kinds) {
  for (const seconds of options.seconds.split(',').map(Number)) await measure(kind, seconds);
}

async function measure(kind, seconds) {
  /** The worst round of each pair. */
  const worst = new Map();
  for (let round = 0; round < Number(options.rounds); round += 1) {
    const lab = new NetworkLab({ name: 'chaos' }, `${kind} ${seconds} s`);
    const failure = await runOnce(lab, async () => {
      const { box, others, recorder } = await mixedMeeting(lab);
      const { rows } = await outage(lab, recorder, box, others, kind, seconds, 45_000);
      for (const row of rows) {
        const slowest = (each) => Math.max(each.toBox.back, each.toOther.back);
        if (!worst.has(row.pair) || slowest(row) > slowest(worst.get(row.pair))) worst.set(row.pair, row);
      }
    });
    if (failure) console.log(`<!-- ${kind} ${seconds} s: ${failure.message.split('\n')[0]} -->`);
  }
  const { most, goal } = limits(seconds);
  for (const [pair, { toBox, toOther, attempts, connections }] of worst) {
    const slowest = Math.max(toBox.back, toOther.back);
    const verdict = slowest > most ? `over ${most / 1000} s` : goal && slowest > goal ? `over the goal of ${goal / 1000} s` : '';
    print([`${kind} ${seconds} s`, pair, inSeconds(toBox.back), inSeconds(toOther.back), attempts, connections, inSeconds(toBox.gap), inSeconds(toOther.gap), verdict]);
  }
}
process.exit(0);
