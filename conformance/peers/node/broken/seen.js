// What somebody broke who knew SPEC.md and the peer, and nothing of the suite, and the suite did not see.

import { broken } from './entry.js';

const N = 'notifications.js';
const H = 'http.js';
const S = 'store.js';
const O = 'outbox.js';
const guard = "app.addHook('onRequest', async (request) => {\n    if (!request.is404 && /^\\/(events|sessions)(\\/|$)/.test(decodeURI(request.url.split('?')[0]))) await guard(request);\n  });\n  ";
const unguarded = (route) => [H, `${route}, { onRequest: guard`, `${route}, {`];
const putId = '    await stored(store.putSession(request.params.id,';
const deleteId = '    const wasThere = await stored(store.revokeSession(request.params.id));';
const decoded = '    request.params.id = decodeURIComponent(request.params.id);\n';
const one = '      if (devices.length === 1) for (const device of devices) device.emit(payload.eventType, payload);\n      else this.namespace.to(room(recipient)).except(others).emit(payload.eventType, payload);';
const unlessBack = "  #closeUnlessBack({ client, conn }) {\n    const timer = setTimeout(() => {\n      if (![...this.namespace.sockets.values()].some((socket) => socket.client === client)) conn.close();\n    }, this.stays);";

export const seen = [
  broken('broadcast-to-all', 'what goes to several plain devices goes to those that acknowledge as well', ['ACK-16/mixed'], [N, one, one.replace('.except(others)', '')]),
  broken('last-poll-of-a-leaver', 'the last answer to a client that has left does not count as delivered', ['QUEUE-13/left-polling'], [N, '    if (!outbox.acknowledges) {\n', '    if (!socket.connected) return;\n    if (!outbox.acknowledges) {\n']),
  broken('ids-decoded-twice', 'the id of a session in the URL is decoded twice', ['EMIT-05/odd-ids'], [H, putId, decoded + putId], [H, deleteId, decoded + deleteId]),
  broken('guarded-by-target', 'routes are guarded by the decoded path, which a request in absolute form has not', ['EMIT-01/elsewhere'], [H, "  app.post('/events', { onRequest: guard }, (", `  ${guard}app.post('/events', {}, (`], [H, '{ onRequest: guard, bodyLimit', '{ bodyLimit'], unguarded("app.put('/sessions/:id'"), unguarded("app.delete('/sessions/:id'")),
  broken('refused-is-back', 'who has left and is refused counts as back', ['TRANS-14/refused', 'TRANS-14/refused-polling'], [N, unlessBack, '  #closeUnlessBack({ conn }) {\n    const timer = setTimeout(() => conn.close(), this.stays);\n    conn.leaving = timer;'], [N, '      this.#atTheDoor.add(socket.conn);', '      this.#atTheDoor.add(socket.conn);\n      clearTimeout(socket.conn.leaving);']),
  broken('patient-for-ever', 'who may be reading a large answer may do so for ever', ['HEART-02/large-answer'], ['pace.js', ' || Date.now() > until) clearInterval', ') clearInterval']),
  broken('acknowledged-by-time', 'what is as old as an acknowledged event is acknowledged', ['ACK-08/of-a-batch'], [S, "redis.call('ZREM', KEYS[1], ARGV[i])", "redis.call('ZREMRANGEBYSCORE', KEYS[1], ARGV[i], ARGV[i])"], [S, '...events.map(({ text }) => text));', '...events.map(timeOf));']),
  broken('one-timer-for-all', 'each acknowledgement gives all others their time anew', ['ACK-09/but-one'], [O, '      clearTimeout(parcel.timer);', '      for (const { timer } of this.#owed) timer?.refresh();\n      clearTimeout(parcel.timer);']),
  broken('each-connect-renews', 'each CONNECT gives its connection the time to authenticate anew', ['TRANS-09/refused-again', 'TRANS-09/refused-again-polling'], [N, '      this.#atTheDoor.add(socket.conn);', '      this.#atTheDoor.add(socket.conn);\n      socket.client.connectTimeout?.refresh();']),
  broken('own-schemes-are-null', 'all origins that are not of the web are one', ['ORIGIN-09/schemes'], ['origins.js', '    const { protocol, host } = new URL(text);\n    return host ? `${protocol}//${host}` : undefined;', '    return new URL(text).origin;']),
  broken('faults-quoted', 'what a parser says of a body that is no JSON is logged', ['PRIV-01/refused'], [H, "    } catch {\n      return done(new Problem(400, 'the body is not JSON'));", "    } catch (error) {\n      console.warn(error.message);\n      return done(new Problem(400, 'the body is not JSON'));"]),
  broken('equal-are-one', 'events of a batch that are equal are emitted once', ['EMIT-03/equal'], [N, '    await Promise.allSettled([...byRecipient(events)]', '    const seen = new Map();\n    events.forEach((event, at) => (events[at] = seen.get(JSON.stringify(drafts[at])) ?? (seen.set(JSON.stringify(drafts[at]), event), event)));\n    await Promise.allSettled([...byRecipient(new Set(events))]']),
  broken('time-of-the-metadata', 'a time in the metadata is told as that of the emission', ['EVENT-04/timestamp'], [N, 'timestamp: new Date().toISOString(), metadata, eventId', 'timestamp: new Date(Date.parse(metadata.timestamp) || Date.now()).toISOString(), metadata, eventId']),
  broken('waits-up-to-fifty', 'what waits for a client that is behind is capped by 50, whatever is configured', ['SLOW-09/cap'], [O, 'this.#cap = cap;', 'this.#cap = 50;']),
  broken('first-device-counts', 'of live events the acknowledgement of the first device alone counts', ['ACK-15/any-device'], [N, '      for (const device of acknowledging) {\n        const acknowledged = device.data.outbox.give([event], () => this.#settle', '      for (const [nth, device] of acknowledging.entries()) {\n        const acknowledged = device.data.outbox.give([event], () => nth === 0 && this.#settle']),
  broken('decoder-remembers', 'half a letter at the end of a body is put before the next one', ['EMIT-30/utf-8'], [H, 'UTF_8.decode(body)', 'UTF_8.decode(body, { stream: true })']),
  broken('polls-are-pongs', 'each poll gives the time for an answer to a ping anew', ['HEART-02/polling'], ['pace.js', '      conn.emit(\'handed\');\n      polls.set(', '      conn.emit(\'handed\');\n      conn.pingTimeoutTimer?.refresh();\n      polls.set(']),
  broken('ready-while-connected', 'who is connected to Redis is ready, and asks it nothing', ['CONF-09/store-silent'], [S, '    return this.redis.ping();', '    return this.redis.status === \'ready\' ? Promise.resolve() : Promise.reject(new Error(\'not connected\'));']),
  broken('queue-in-parts', 'a queue is sent in parts of about a mebibyte', ['QUEUE-09/of-large-events'], [N, '    socket.data.outbox.give(entries);\n    const payloads = entries.map(({ payload }) => payload);\n    if (payloads.length > 0) socket.emit(\'queued.events\', payloads);', '    for (let at = 0; at < entries.length; at += 16) {\n      const part = entries.slice(at, at + 16);\n      socket.data.outbox.give(part);\n      socket.emit(\'queued.events\', part.map(({ payload }) => payload));\n    }']),
  broken('flood-unheard', 'of more than 100 events in a second the rest is not heard', ['TRANS-15/many'], [N, '    const { userId, end } = socket.data;\n    socket.data.outbox = new Outbox(', '    const { userId, end } = socket.data;\n    let [since, heard] = [Date.now(), 0];\n    socket.use((_event, next) => {\n      if (Date.now() - since > 1_000) [since, heard] = [Date.now(), 0];\n      heard += 1;\n      if (heard <= 100) next();\n    });\n    socket.data.outbox = new Outbox(']),
  broken('refused-leaves-its-session', 'a connection has left its session once it has asked for another, though that was refused', ['EXPIRY-07/revoked'], [N, '    const stay = await this.#enterSession(sessionId, userId, socket);\n    this.#leaveSession(socket.connected ? socket.data.stay : stay);\n    if (socket.connected) Object.assign', '    this.#leaveSession(socket.data.stay);\n    const stay = await this.#enterSession(sessionId, userId, socket);\n    if (!socket.connected) this.#leaveSession(stay);\n    if (socket.connected) Object.assign']),
];
