// What remembers too much or too little, and what is right until two things meet: found by somebody who knew the contract and not the cases.

import { broken } from './entry.js';

const A = 'auth.js';
const H = 'http.js';
const N = 'notifications.js';
const S = 'store.js';
const verifier = '  return (token) => {\n';
const owned = 'if (owner !== userId || stay.isOver)';
const refreshed = "this.verify(bareToken(typeof given === 'object' ? given?.token : given))";

export const fresh = [
  // What is remembered of a token or a session.
  broken('verdicts-kept', 'a token that was accepted is accepted after its end', ['EXPIRY-01/websocket', 'EXPIRY-01/polling'], [A, verifier, `  const known = new Map();\n${verifier}    if (known.has(token)) return known.get(token);\n`], [A, 'return judge(claims, Date.now() / 1_000);', 'return known.set(token, judge(claims, Date.now() / 1_000)).get(token);']),
  broken('verified-by-signature', 'a signature that was verified once counts for other claims', ['AUTH-05/lent', 'AUTH-05/lent-polled'], [A, verifier, `  const known = new Set();\n${verifier}`], [A, 'claims = decode(token);', "const signature = token.split('.')[2];\n      claims = known.has(signature) ? jwt.decode(token) : decode(token);\n      known.add(signature);"]),
  broken('refresh-by-refresh-token', 'auth.refresh takes refresh tokens', ['EXPIRY-05/fixtures'], [N, refreshed, refreshed.replace('given))', 'given), true)')], [A, verifier, '  return (token, refreshes) => {\n'], [A, 'judge(claims, Date', 'judge(refreshes ? { ...claims, type: undefined } : claims, Date']),
  broken('owners-normalised', "owners are compared by Unicode's normal form", ['AUTH-17/look-alikes'], [N, owned, 'if (owner?.normalize() !== userId.normalize() || stay.isOver)']),
  broken('blank-is-empty', 'a userId of white space alone is refused', ['EVENT-09/blank'], [A, "typeof claim === 'string' && claim !== ''", "typeof claim === 'string' && claim.trim() !== ''"]),

  // The end of a session or a token, and what is under way then.
  broken('revoked-when-drained', 'a revoked connection is closed once it has taken what waits', ['REVOKE-01/waiting'], [N, 'if (isIn && stay.isOver) stay.socket.conn.close(true);', 'if (isIn && stay.isOver) stay.socket.conn.close();']),
  broken('expired-when-drained', 'a connection ends with its token once it has taken what waits', ['EXPIRY-01/waiting'], [N, 'if (left <= 0) conn.close(true);', 'if (left <= 0) conn.close();']),
  broken('past-ends-nothing', 'an expiresAt that has passed ends no connection', ['REVOKE-07/replaced'], [N, '  sessionChanged(sessionId, userId, endsAt = Infinity) {\n', '  sessionChanged(sessionId, userId, endsAt = Infinity) {\n    if (endsAt < Date.now()) return;\n']),
  broken('far-session-ends-at-once', 'the end of a session that is further than a timer reaches has come', ['REVOKE-06/websocket', 'REVOKE-06/polling'], [N, '    clearTimeout(data.timer);\n    const left', '    clearTimeout(data.timer);\n    if (data.stay.endsAt < data.endsAt) {\n      data.timer = setTimeout(() => conn.close(true), data.stay.endsAt + LEEWAY_SECONDS * 1_000 - Date.now());\n      return;\n    }\n    const left']),
  broken('timer-of-who-left', 'the end of the token that a client has left with ends its next stay', ['EXPIRY-01/websocket', 'EXPIRY-01/polling'], [N, '      clearTimeout(socket.data.timer);\n      this.#leaveSession', '      this.#leaveSession']),
  broken('acknowledges-for-ever', 'the first CONNECT of a connection says whether it acknowledges', ['ACK-03/again', 'ACK-03/again-polling'], [N, 'acknowledges: socket.handshake.auth.ack === true,', 'acknowledges: (socket.conn.acknowledges ??= socket.handshake.auth.ack === true),']),

  // Rooms and names.
  broken('room-can-be-left', 'unsubscribe leaves the room that several devices share', ['ROOM-02/leave-events', 'ROOM-02/leave-events-polled'], [N, "    socket.on('ping', (", "    socket.on('unsubscribe', () => socket.leave(room(userId)));\n    socket.on('ping', ("]),
  broken('groups-in-an-object', 'recipients are members of an object', ['ROOM-05/of-a-language'], [N, '  const groups = new Map();\n  for (const event of events) {\n    const group = groups.get(event.recipient);\n    if (group) group.push(event);\n    else groups.set(event.recipient, [event]);\n  }\n  return groups;', '  const groups = {};\n  for (const event of events) (groups[event.recipient] ??= []).push(event);\n  return Object.entries(groups);']),
  broken('queue-of-255-letters', 'a queue is named by 255 letters of its user', ['ROOM-05/look-alikes-queued'], [S, 'return [`queue:${userId}`, `owed:${userId}`];', 'return [`queue:${userId.slice(0, 255)}`, `owed:${userId}`];']),

  // Sizes and places.
  broken('slices-of-text', 'a message is cut between the halves of a letter', ['EVENT-33/large'], ['pace.js', 'const bytes = text.length > SLICE ? Buffer.from(text) : text;', 'const bytes = text;']),
  broken('batch-cut-at-its-end', 'of a batch beyond the cap the oldest are kept', ['QUEUE-03/batch'], [S, '    const now = Date.now();', '    events = events.slice(0, maxEvents + beyond);\n    const now = Date.now();']),
  broken('first-hundred-checked', 'of a batch the first hundred events are checked', ['EMIT-04/refused-whole-live'], [H, '    events.forEach((event, at) => checkEvent', '    events.slice(0, 100).forEach((event, at) => checkEvent']),
  broken('hundred-dropped', 'no more than a hundred losses are told', ['ACK-11/dropped'], [S, 'dropped: Math.max(0, count - events.length)', 'dropped: Math.min(100, Math.max(0, count - events.length))']),
  broken('back-with-a-new-time', 'what comes back has the time of that', ['SLOW-10/broken', 'SLOW-10/broken-polling'], [N, '    if (events.length === 0) return;\n    await this.store.append(userId, events).catch', '    if (events.length === 0) return;\n    for (const { payload } of events) payload.timestamp = new Date().toISOString();\n    await this.store.append(userId, events).catch']),
  broken('answers-age-like-queues', 'an answer is kept for as long as a queue', ['EMIT-06/kept'], [S, "'PX', ANSWERS_MS)", "'PX', this.queue.ttlMs)"]),

  // What is told.
  broken('store-errors-logged', 'errors of the store are logged whole', ['AUTH-24/log-of-store'], [S, "this.redis.on('error', () => {});", "this.redis.on('error', (error) => console.error(error));"]),
  broken('encodings-before-origins', 'what is refused for its Content-Encoding has no CORS headers', ['ORIGIN-01/control'], [H, '    const headers = corsHeaders(config.origins, request.headers);\n    if (headers) reply.headers(headers);', "    const isEncoded = request.headers['content-encoding'] !== undefined;\n    const headers = isEncoded ? undefined : corsHeaders(config.origins, request.headers);\n    if (headers) reply.headers(headers);"]),
];
