// What `make test` runs: node --test tests/network/quick.mjs
// The five tests the seeds ask for, once each.

import { runSet } from './sets.mjs';

await runSet('quick');
