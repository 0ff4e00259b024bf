// What breaks the promises of the profile strict: acknowledgements, the ends of tokens and sessions, clients that read slowly or not at all.

import { broken } from './entry.js';

const N = 'notifications.js';
const settled = '    this.store.remove(userId, settled, dropped).catch(() => {});';
const ends = 'Math.min(data.endsAt, data.stay.endsAt)';
const refreshed = 'Object.assign(socket.data, { stay, endsAt });';
const refusedRefresh = '(({ message }) => ({ ok: false, code: message }))';
const queued = "    if (payloads.length > 0) socket.emit('queued.events', payloads);";
const putBack = 'socket.data.outbox.end(() => this.#putBack(socket.data));';
const caughtUp = '    if (socket.connected && outbox.hasMissed && outbox.isIdle) this.#catchUp(socket);';
const told = '    socket.data.told = dropped;';
const missed = '    this.hasMissed = true;';

export const strict = [
  broken('acks-ignored', 'what was acknowledged comes again', ['ACK-05/acknowledged'], [N, settled, '']),
  broken('acks-by-polling-ignored', 'what was acknowledged by polling comes again', ['ACK-01/polling'], [N, 'device.data.outbox.give([event], () => this.', "device.data.outbox.give([event], () => device.conn.transport.name === 'polling' || this."]),
  broken('acks-of-the-queue-ignored', 'what was acknowledged in queued.events comes again', ['ACK-05/acknowledged'], [N, '      this.#settle(userId, entries, told);', '']),
  broken('acks-take-older', 'an acknowledgement counts for everything older', ['ACK-08/only-that'], [N, 'this.#settle(recipient, [event]));', 'this.#settle(recipient, [event, ...device.data.outbox.events().filter((it) => it.payload.eventId < event.payload.eventId)]));']),
  broken('acks-with-arguments-only', 'an acknowledgement without arguments does not count', ['ACK-15/any-form'], [N, '() => this.#settle(recipient, [event]));', '(...args) => args.length > 0 && this.#settle(recipient, [event]));'], ['outbox.js', '    return () => {', '    return (...args) => {'], ['outbox.js', '      acknowledged();', '      acknowledged(...args);']),
  broken('plain-end-the-keeping', 'what a plain client has taken is not kept for one that acknowledges', ['ACK-16/mixed'], [N, 'event.text && !event.isKept);', 'event.text);']),
  broken('not-kept', 'a live event for a client that acknowledges is not stored', ['ACK-04/live', 'ACK-14/no-store'], [N, '  #acknowledges(userId) {', '  #acknowledges(userId) {\n    if (userId) return false;']),
  broken('delivered-before-stored', 'an event for a client that acknowledges is delivered though it cannot be stored', ['ACK-14/no-store'], [N, '      await this.store.append(', '      if (this.#acknowledges(recipient)) events = this.#send(recipient, events, () => {});\n      await this.store.append(']),
  broken('never-impatient', 'a client that acknowledges nothing stays', ['ACK-09/timeout'], ['outbox.js', '    for (const parcel of parcels) this.#expectAck(parcel, bytes);', '']),
  broken('impatient', 'the time that an event takes counts as time in which it is not acknowledged', ['SLOW-06/long-answer'], ['outbox.js', ' + timeToTake(this.conn, bytes)', '']),
  broken('loss-not-told', 'what was dropped is not told', ['ACK-11/dropped', 'ACK-13/all-expired'], ['store.js', 'dropped: Math.max(0, count - events.length)', 'dropped: 0']),
  broken('loss-told-once', 'what was dropped is told once, acknowledged or not', ['ACK-12/told-again'], [N, told, `${told}\n    if (dropped > 0) this.store.remove(userId, [], dropped).catch(() => {});`]),
  broken('asks-everybody', 'plain clients are told of losses, too', ['ACK-03/plain'], [N, queued, "    if (payloads.length > 0) socket.emit('queued.events', payloads, { complete: true, dropped: 0 });"]),

  broken('token-end-ignored', 'a connection stays when its token has ended', ['EXPIRY-01/websocket'], [N, ends, 'data.stay.endsAt']),
  broken('token-end-ignored-by-polling', 'a polling session stays when its token has ended', ['EXPIRY-01/polling'], [N, ends, "Math.min(conn.transport.name === 'polling' ? Infinity : data.endsAt, data.stay.endsAt)"]),
  broken('token-ends-early', 'a connection ends two seconds before its token', ['EXPIRY-01/websocket'], [N, `${ends} + LEEWAY_SECONDS * 1_000`, `${ends} - 2_000`]),
  broken('session-end-ignored', 'a connection stays when its session has ended', ['REVOKE-06/websocket'], [N, ends, 'data.endsAt']),
  broken('replaced-end-ignored', 'a connection ends when its session was first said to end', ['REVOKE-07/replaced'], [N, '      stay.endsAt = endsAt;', '']),
  broken('revocation-not-heard', 'a connection stays when its session is revoked', ['REVOKE-01/websocket', 'REVOKE-04/queued'], [N, '      if (isIn && stay.isOver) stay.socket.conn.close(true);', '      if (isIn && stay.isOver) continue;']),
  broken('revoked-with-the-user', "a revocation closes the connections of the user's other sessions", ['REVOKE-01/websocket'], [N, '      if (isIn && stay.isOver) stay.', '      if (isIn && stay.isOver) for (const { conn } of this.#connected(stay.userId)) conn.close(true);\n      if (isIn && stay.isOver) stay.']),
  broken('refresh-not-taken', 'auth.refresh is answered, and the first token counts', ['EXPIRY-03/refresh'], [N, refreshed, 'Object.assign(socket.data, { stay });']),
  broken('refresh-keeps-session', 'a refreshed connection stays with its first session', ['REVOKE-03/refreshed'], [N, `    this.#leaveSession(socket.connected ? socket.data.stay : stay);\n    if (socket.connected) ${refreshed}`, '    Object.assign(socket.data, { endsAt });']),
  broken('refresh-of-anybody', 'auth.refresh takes a token of another user', ['EXPIRY-06/another-user'], [N, "    if (userId !== socket.data.userId) throw new Refusal('token_invalid');", '']),
  broken('refused-refresh-closes', 'an auth.refresh that is refused ends the connection', ['EXPIRY-05/refused'], [N, refusedRefresh, '(({ message }) => socket.conn.close(true) ?? { ok: false, code: message })']),

  broken('slow-reader-cut', 'a client that is behind is closed, though it reads', ['SLOW-09/websocket', 'SLOW-09/polling'], ['outbox.js', missed, `${missed}\n    this.conn.close(true);`]),
  broken('heartbeat-behind-the-queue', 'a ping that is on its way has to be answered', ['SLOW-06/beyond-the-heartbeat'], ['pace.js', '    if (!hasPing) conn.pingTimeoutTimer?.refresh();', '']),
  broken('heartbeat-behind-the-answer', 'a poll has to come in time, however long the answer before', ['SLOW-06/beyond-the-heartbeat'], ['pace.js', '  if (milliseconds < PATIENCE_MS) return;', '  if (milliseconds > 0) return;']),
  broken('no-bound', 'what waits for a client has no bound', ['SLOW-01/websocket'], ['outbox.js', '400 * 1024', '400 * 1024 ** 3']),
  broken('behind-for-good', 'who was behind gets nothing more', ['SLOW-09/websocket', 'SLOW-09/acknowledging'], [N, caughtUp, '']),
  broken('not-put-back', 'what a broken connection leaves is lost', ['SLOW-10/broken', 'SLOW-10/broken-polling'], [N, putBack, 'socket.data.outbox.end(() => this.#outboxes.get(userId).delete(socket.data.outbox));']),
  broken('put-back-out-of-order', 'what a broken connection leaves comes behind what was accepted since', ['ORDER-01/not-fetched'], ['store.js', '[timeOf(events[at]), text]', '[now, text]']),
  broken('taken-given-back', 'what a broken connection leaves comes back to a device that has had it live', ['SLOW-08/kept-meanwhile', 'SLOW-08/kept-meanwhile-polling'], [N, '!event.isTaken && (event.isQueue || !event.isKept) && ', '']),
  broken('handed-when-given', 'the queue is removed when it was given to the library', ['SLOW-07/broken', 'SLOW-07/broken-polling'], [N, queued, `${queued}\n    this.store.remove(userId, entries).catch(() => {});`], [N, '  #sendQueue(socket, entries) {', '  #sendQueue(socket, entries) {\n    const { userId } = socket.data;']),
  broken('queue-for-each', 'a queue that is on its way to one device is given to another', ['SLOW-08/one-device', 'SLOW-08/one-device-polling', 'SLOW-08/closed', 'SLOW-08/closed-polling'], [N, 'kept.events.filter(({ payload }) => !underWay.has(payload.eventId));', 'kept.events;']),
  broken('kept-from-who-said-too-much', 'what waits for a device that was closed for what it said goes to nobody while others are there', ['SLOW-08/closed'], [N, putBack, `if (!/parse|forced/.test(reason)) ${putBack}`]),
  broken('answered-is-handed', 'an answer to a poll counts as taken when it is written', ['SLOW-10/broken-answer'], ['pace.js', "      if (conn.transport.name === 'polling') bePatient", "      if (conn.transport.name === 'polling') setImmediate(() => conn.emit('handed'));\n      if (conn.transport.name === 'polling') bePatient"]),
];
