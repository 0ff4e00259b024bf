// Every broken version of the peer, with the cases that must catch it, and every unusual one that is right, with the cases that must let it
// pass. Each is a change of a line or two, as anybody might make it.

import { auth } from './auth.js';
import { delivery } from './delivery.js';
import { fresh } from './fresh.js';
import { further } from './further.js';
import { http } from './http.js';
import { lines } from './lines.js';
import { right } from './right.js';
import { seen } from './seen.js';
import { strict } from './strict.js';
import { surface } from './surface.js';
import { upgraded } from './upgraded.js';

export const entries = [...auth, ...delivery, ...http, ...further, ...fresh, ...strict, ...upgraded, ...surface, ...lines, ...seen, ...right];
