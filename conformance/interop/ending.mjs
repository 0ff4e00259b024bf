// A process that is told to end by SIGTERM, and what the official client does about it: nobody calls it, and it is back at the
// next process with everything that it has missed.
//
//   node ending.mjs [target file, from the top folder]

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Client, TRANSPORTS } from './client.mjs';
import { Target } from './target.mjs';

for (const { name, options, settled } of TRANSPORTS) {
  for (const ack of [false, true]) {
    test(`${name}${ack ? ', acknowledging' : ''}: after SIGTERM the client comes back by itself, with everything`, async (t) => {
      const server = await Target.start(t);
      const user = await server.user();
      const client = new Client(t, server, { auth: { token: user.token, ack }, ...options });
      await client.connected();
      if (settled === 'websocket') {
        await client.upgraded();
      }

      // The process ends in the midst of it.
      const emitting = server.emitUntilAway(user, 'record.accessed');
      const seen = [await nextId(client), await nextId(client)];
      const [accepted, reason, status] = await Promise.all([emitting, client.disconnected(), server.terminate()]);
      assert.equal(status, 0);
      assert.notEqual(reason, 'io server disconnect', 'the library takes it as meant for this client, and stays away');
      assert.equal(client.socket.active, true, 'the library tries again by itself');

      const missed = [];
      await server.elsewhere(async () => {
        for (const type of ['access.granted', 'access.revoked', 'record.uploaded']) {
          missed.push(await server.emit(user, type));
        }
      });
      assert.deepEqual(
        missed.map(({ delivery }) => delivery),
        ['queued', 'queued', 'queued'],
      );

      const back = client.reconnected();
      await server.launch();
      await back;
      const live = [await server.emit(user, 'access.granted'), await server.emit(user, 'access.revoked')];
      assert.deepEqual(
        live.map(({ delivery }) => delivery),
        ['live', 'live'],
      );

      seen.push(...(await idsUntil(client, live[1].eventId, ack ? [{ complete: true, dropped: 0 }] : [])));
      const due = [...accepted, ...missed, ...live].map(({ eventId }) => eventId);
      // An acknowledgement that was on its way when the process ended has got lost; then the event comes again.
      const once = ack ? [...new Set(seen)] : seen;
      const unanswered = once.filter((eventId) => !due.includes(eventId));
      assert.ok(unanswered.length <= 1, `only the last of one emitter can be without an answer: ${unanswered}`);
      assert.deepEqual(
        once.filter((eventId) => due.includes(eventId)),
        due,
      );
    });
  }
}

async function nextId(client) {
  const [, { eventId }] = await client.next();
  return eventId;
}

/** The ids of what the client receives up to this one, queued or live; `told` comes with what was queued. */
async function idsUntil(client, last, told) {
  const ids = [];
  while (ids.at(-1) !== last) {
    const [event, payload, ...rest] = await client.next();
    const queued = event === 'queued.events';
    ids.push(...(queued ? payload : [payload]).map(({ eventId }) => eventId));
    assert.deepEqual(rest, queued ? told : []);
  }
  return ids;
}
