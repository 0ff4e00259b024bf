// What the client snippet of the module's documentation does, done by the official client against any target.
//
//   node check.mjs [target file, from the top folder]
//
// Absence is never waited for: an event that must come is emitted afterwards, and nothing may stand before it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Client, TRANSPORTS } from './client.mjs';
import { Target } from './target.mjs';

const TYPES = ['record.accessed', 'access.granted', 'access.revoked', 'record.uploaded'];

for (const { name, options, settled } of TRANSPORTS) {
  const connect = async (t, server, user) => {
    const client = new Client(t, server, { auth: { token: user.token }, ...options });
    await client.connected();
    return client;
  };

  describe(name, () => {
    test('the transport is the expected one', async (t) => {
      const server = await Target.start(t);
      const client = await connect(t, server, await server.user());
      if (settled === 'websocket') {
        await client.upgraded();
      }
      assert.equal(client.transport, settled);
      assert.equal(await client.socket.timeout(5_000).emitWithAck('ping'), 'pong', 'on the settled transport');
    });

    test('a live event arrives, of each type', async (t) => {
      const server = await Target.start(t);
      const user = await server.user();
      const client = await connect(t, server, user);
      for (const type of TYPES) {
        const before = Date.now();
        const { eventId, delivery } = await server.emit(user, type, { note: 'Zoë 😀', pages: [1, null] });
        const [event, payload, ...rest] = await client.next();
        const { timestamp, ...others } = payload;
        assert.equal(delivery, 'live');
        assert.equal(event, type);
        assert.deepEqual(rest, []);
        assert.deepEqual(others, {
          eventId,
          eventType: type,
          actorId: 'doctor-7',
          resourceId: 'record-17',
          metadata: { targetUserId: user.id, note: 'Zoë 😀', pages: [1, null] },
        });
        assert.equal(new Date(timestamp).toISOString(), timestamp);
        assert.ok(Date.parse(timestamp) >= before && Date.parse(timestamp) <= Date.now(), timestamp);
      }
    });

    test('what was missed comes on reconnecting, once and before what is live', async (t) => {
      const server = await Target.start(t);
      const user = await server.user();
      const client = await connect(t, server, user);

      client.socket.disconnect();
      const missed = await server.emitUntilOffline(user, 'record.accessed');
      for (const type of TYPES) {
        missed.push(await server.emit(user, type));
      }
      client.socket.connect();
      await client.connected();
      const live = await server.emit(user, 'access.granted');

      await expectQueued(client, missed);
      await expectLive(client, live, 'access.granted');

      client.socket.disconnect();
      client.socket.connect();
      await client.connected();
      await expectLive(client, await server.emit(user, 'access.revoked'), 'access.revoked');
    });

    test('a refusal is a connect_error with a code, and costs the user nothing', async (t) => {
      const server = await Target.start(t);
      const user = await server.user();
      const missed = [await server.emit(user, 'record.uploaded')];
      const other = await server.user();
      await server.revoke(other);

      const client = new Client(t, server, options);
      await expectRefusal(client, 'token_missing');
      const refusals = [
        ['Bearer not-a-token', 'token_invalid'],
        [user.expiredToken, 'token_expired'],
        [other.token, 'session_invalid'],
        [{ token: user.token }, 'token_invalid'],
      ];
      for (const [token, code] of refusals) {
        client.socket.auth = { token };
        client.socket.connect();
        await expectRefusal(client, code);
      }

      client.socket.auth = { token: user.token };
      client.socket.connect();
      await client.connected();
      await expectQueued(client, missed);
    });

    test('another namespace is refused', async (t) => {
      const server = await Target.start(t);
      const { token } = await server.user();
      for (const namespace of ['/', '/admin', '/notifications/']) {
        const client = new Client(t, server, { auth: { token }, ...options }, namespace);
        assert.ok((await client.refused()) instanceof Error, namespace);
        assert.equal(client.socket.connected, false, namespace);
      }
    });

    test('ping with an acknowledgement callback is answered pong', async (t) => {
      const server = await Target.start(t);
      const client = await connect(t, server, await server.user());
      const answer = await new Promise((resolve, reject) => {
        client.socket.timeout(5_000).emit('ping', (error, ...args) => (error ? reject(error) : resolve(args)));
      });
      assert.deepEqual(answer, ['pong']);
    });

    test('a page that the server itself has served is let in, and an odd one is not', async (t) => {
      const server = await Target.start(t);
      const { token } = await server.user();
      const from = (origin) => new Client(t, server, { auth: { token }, ...options, extraHeaders: { origin } });
      await from(`http://localhost:${server.port}`).connected();
      const error = await from('http://localhost:9').refused().catch((failed) => failed.cause);
      assert.equal(error.type, 'TransportError', 'the connection is refused');
    });

    test('half an emoji harms nobody: beside the token, in metadata, in the name of an event', async (t) => {
      const server = await Target.start(t);
      const user = await server.user();
      const auth = { token: user.token, device: 'Pixel \ud83d', '\udc00': [1e300, { deep: null }] };
      const client = new Client(t, server, { auth, ...options });
      await client.connected();
      await server.emit(user, 'record.accessed', { note: 'seen \ud83d' });
      const [, payload] = await client.next();
      assert.equal(payload.metadata.note, 'seen \ud83d');
      for (const event of ['caf\u00e9', 'a"b', 'ping\\', '\ud83d', '']) {
        client.socket.emit(event, 1);
      }
      assert.equal(await client.socket.timeout(5_000).emitWithAck('ping'), 'pong');
    });

    test('the library reconnects by itself after the server was killed, and nothing is lost', async (t) => {
      const server = await Target.start(t);
      const user = await server.user();
      const client = await connect(t, server, user);
      await expectLive(client, await server.emit(user, 'record.accessed'), 'record.accessed');

      const lost = client.disconnected();
      await server.kill();
      await lost;
      const back = client.reconnected();
      await server.launch();
      const meanwhile = await server.emit(user, 'access.granted');
      await back;

      if (meanwhile.delivery === 'queued') {
        await expectQueued(client, [meanwhile]);
      } else {
        await expectLive(client, meanwhile, 'access.granted');
      }
      await expectLive(client, await server.emit(user, 'access.revoked'), 'access.revoked');
    });
  });
}

async function expectLive(client, { eventId, delivery }, type) {
  assert.equal(delivery, 'live');
  const [event, payload] = await client.next();
  assert.deepEqual({ event, eventId: payload.eventId }, { event: type, eventId });
}

/** All that was queued, in order. Of what was answered `live` before it, the newest may be there, if the client was gone already. */
async function expectQueued(client, answers) {
  const [event, payloads, ...rest] = await client.next();
  assert.equal(event, 'queued.events');
  const queued = answers.filter(({ delivery }) => delivery === 'queued').length;
  const due = answers.slice(-Math.max(payloads.length, queued));
  assert.deepEqual(
    payloads.map(({ eventId }) => eventId),
    due.map(({ eventId }) => eventId),
  );
  assert.deepEqual(rest, []);
}

async function expectRefusal(client, code) {
  const error = await client.refused();
  assert.ok(error instanceof Error);
  assert.equal(error.message, code);
  assert.equal(client.socket.active, false, 'the library does not try again by itself');
}
