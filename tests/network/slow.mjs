// What `make test-full` runs beside the quick set: node --test tests/network/slow.mjs

import { runSet } from './sets.mjs';

await runSet('slow');
