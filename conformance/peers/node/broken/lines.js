// What a team overlooks about lines that go another way, and about who stands at their end.

import { broken } from './entry.js';

const N = 'notifications.js';
const A = 'auth.js';
const V = 'server.js';
const found = 'handshake.auth?.token ?? handshake';
const refreshed = '    if (socket.connected) Object.assign(socket.data, { stay, endsAt });';
const left = "      if (reason === 'client namespace disconnect') this.#closeUnlessBack(socket);";
const guarded = 'guardSockets(app.server, io, config.origins);\nwatch';
const engine = (statement) => [V, guarded, guarded.replace('\n', () => `\nio.engine.on('connection', (it) => { ${statement} });\n`)];
const letIn = '    socket.join(room(userId));';
const patient = [V, '  connectTimeout: CONNECT_TIMEOUT_MS,', '  connectTimeout: 86_400_000,'];
const root = "io.use((_socket, next) => next(new Error('unknown_namespace')));";

export const lines = [
  broken('upgrade-tells-nothing', 'what was polled before an upgrade does not count as delivered', ['QUEUE-13/upgraded'], ['pace.js', "      conn.emit('handed');\n      watchWebSocket", '      watchWebSocket']),
  broken('back-unrevoked', 'whoever has left and come in again stays when the session is revoked', ['REVOKE-01/websocket', 'REVOKE-01/polling', 'REVOKE-08/websocket'], [N, '      if (isIn && stay.isOver) stay', '      if (isIn && stay.isOver && !stay.socket.conn.wasLeft) stay'], [N, left, `${left}\n      if (reason === 'client namespace disconnect') socket.conn.wasLeft = true;`]),
  broken('refreshed-outlives-session', 'the end of the session of a fresh token does not count', ['REVOKE-06/websocket', 'REVOKE-06/polling'], [N, refreshed, refreshed.replace('{ stay,', '{ stay: Object.assign(stay, { endsAt: Infinity }),')]),
  broken('polled-refresh-unheard', 'over polling auth.refresh is answered and changes nothing', ['EXPIRY-03/refresh'], [N, refreshed, refreshed.replace(', endsAt }', ", endsAt: socket.conn.transport.name === 'polling' ? socket.data.endsAt : endsAt }")]),
  broken('expired-refresh-closes', 'an auth.refresh with an expired token closes, a moment later', ['EXPIRY-05/refused'], [N, '(({ message }) => ({ ok: false, code: message }))', "(({ message }) => {\n        if (message === 'token_expired') setTimeout(() => socket.conn.close(true), 1_000);\n        return { ok: false, code: message };\n      })"]),
  broken('given-away-stays', 'a session that is given to another user keeps the connections of the first', ['REVOKE-08/websocket', 'REVOKE-08/polling'], [N, '      stay.isOver = stay.userId !== userId;', '      stay.isOver = userId === undefined;']),
  broken('refresh-names-user', 'auth.refresh may name a further user', ['ROOM-02/join-events'], [N, '    if (userId !== socket.data.userId) throw', "    if (typeof given?.userId === 'string') {\n      this.#devices.set(given.userId, (this.#devices.get(given.userId) ?? new Set()).add(socket));\n      socket.join(room(given.userId));\n    }\n    if (userId !== socket.data.userId) throw"]),
  broken('other-schemes', 'Token and JWT are taken off like Bearer', ['AUTH-03/both-places', 'AUTH-03/both-places-polled', 'EXPIRY-05/refused'], [A, "/^Bearer /i.test(token) ? token.slice('Bearer '.length) : token;", "token.replace(/^(Bearer|Token|JWT) /i, '');"]),
  broken('token-in-proto', 'a token may be inherited from __proto__', ['AUTH-40/payload'], [A, found, 'Object.assign({}, handshake.auth).token ?? handshake']),
  broken('later-headers', 'each further request of a session is where the token of its headers is looked for', ['AUTH-40/later-request'], [V, 'io.engine.use((request, response, next) => {', 'io.engine.use((request, response, next) => {\n  const conn = io.engine.clients[request._query.sid];\n  if (conn?.transport) conn.request = request;']),
  broken('false-token-absent', 'a token that is false, 0 or empty counts as absent', ['AUTH-25/wrong-types'], [A, found, found.replace('??', '||')]),
  broken('ack-in-url', 'ack=true in the URL counts', ['ACK-03/plain'], [N, 'socket.handshake.auth.ack === true,', "socket.handshake.auth.ack === true || socket.handshake.query.ack === 'true',"]),
  broken('ack-in-proto', 'ack may be inherited from __proto__', ['ACK-03/plain'], [N, 'socket.handshake.auth.ack === true,', 'Object.assign({}, socket.handshake.auth).ack === true,']),
  broken('bytes-acknowledge-nothing', 'an acknowledgement that has bytes does not count', ['ACK-15/any-form'], ['outbox.js', '    return () => {\n      clearTimeout', '    return (...args) => {\n      if (args.some((it) => Buffer.isBuffer(it))) return;\n      clearTimeout']),
  broken('under-way-withheld', 'what is on its way to one device is not in the queue of the next', ['ACK-04/second-device'], [N, '(event) => !mine.has(event) &&', '(event) => !mine.has(event) && !underWay?.has(event.payload.eventId) &&']),
  broken('damage-not-counted', 'what damage has cost is not counted', ['ACK-11/damaged'], ['store.js', 'count - events.length)', 'count - texts.length + over.length)']),
  broken('loss-taken-off-twice', 'a loss that two devices acknowledge is taken off twice', ['ACK-12/two-devices'], [N, 'const told = Math.min(dropped, socket.data.told);', 'const told = dropped;']),
  broken('refused-at-root', 'whoever was refused at / stays', ['TRANS-09/refused', 'TRANS-09/refused-polling'], patient, engine('setTimeout(() => { if (!it.isIn && !it.isSpared) it.close(); }, CONNECT_TIMEOUT_MS);'), [N, letIn, `${letIn}\n    socket.conn.isIn = true;`], [V, root, "io.use(({ conn }, next) => {\n  conn.isSpared = true;\n  next(new Error('unknown_namespace'));\n});"]),
  broken('posts-of-128-kib', 'a POST over 128 KiB is refused though 256 KiB are announced', ['TRANS-15/large', 'TRANS-16/polling'], engine("if (it.transport.name === 'polling') it.transport.maxHttpBufferSize = 128 * 1024;")),
  broken('messages-of-128-kib', 'a WebSocket message over 128 KiB closes though 256 KiB are announced', ['TRANS-16/websocket'], engine("it.on('packet', ({ data = '' }) => { if (it.transport.name === 'websocket' && data.length > 128 * 1024) it.close(true); });")),
  broken('chatter-is-life', 'whoever says anything need answer no ping', ['HEART-02/websocket', 'HEART-02/polling', 'HEART-02/upgraded'], engine("it.on('packet', ({ type }) => { if (type === 'message') { clearTimeout(it.pingTimeoutTimer); it.pingIntervalTimer?.refresh(); } });")),
  broken('chatter-puts-pings-off', 'whoever says anything is pinged later', ['HEART-01/websocket', 'HEART-01/polling', 'HEART-01/upgraded'], engine("it.on('packet', ({ type }) => { if (type === 'message') it.pingIntervalTimer?.refresh(); });")),
  broken('bytes-unanswered', 'a ping that has bytes is not answered', ['EVENT-11/ping'], [N, "      if (typeof acknowledge === 'function') acknowledge('pong');", "      if (typeof acknowledge === 'function' && !args.some((it) => Buffer.isBuffer(it))) acknowledge('pong');"]),
  broken('unknown-bytes-close', 'an unknown event that has bytes closes', ['EVENT-32/no-callback', 'EVENT-32/no-callback-polled'], [N, letIn, `${letIn}\n    socket.onAny((_name, ...args) => { if (args.some((it) => Buffer.isBuffer(it))) socket.conn.close(); });`]),
  broken('catch-up-tells-nothing', 'a further queued.events tells of no loss', ['SLOW-09/acknowledging'], [N, '      this.#drain(socket, { kept });', '      this.#drain(socket, { kept: { ...kept, dropped: 0 } });']),
  broken('given-back-unsorted', 'what waits is sent in the order in which it came to wait', ['SLOW-08/behind'], ['outbox.js', '.sort((a, b) => (a.payload.eventId < b.payload.eventId ? -1 : 1))', '']),
];
