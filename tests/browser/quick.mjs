// What `make test` runs: node --test tests/browser/quick.mjs
// One process, so that the scenarios run one after another whatever the machine.

import { runSet } from './sets.mjs';

await runSet('quick');
