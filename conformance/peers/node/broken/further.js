// More that anybody might break, in every file of the peer.

import { broken } from './entry.js';

const payload = 'payload: { eventType, actorId, resourceId, timestamp: new Date().toISOString(), metadata, eventId: uuidv7() },';
const made = (from, to) => ['notifications.js', payload, payload.replace(from, to)];
const recipient = "  return typeof targetUserId === 'string' && targetUserId !== '' ? targetUserId : resourceId;";
const queued = "    if (payloads.length > 0) socket.emit('queued.events', payloads);";
const owner = "      if (owner !== userId || stay.isOver) throw new Refusal('session_invalid');";
const sorted = '(it) => (it && typeof it === "object" && !Array.isArray(it) ? Object.fromEntries(Object.keys(it).sort().map((name) => [name, it[name]])) : it)';

export const further = [
  broken('no-sub', 'sub does not stand in for userId', ['AUTH-11/sub'], ['auth.js', 'userId = claims.sub,', 'userId,']),
  broken('any-length', 'a token of a megabyte is read', ['AUTH-25/wrong-types'], ['auth.js', '65_536', '1_000_000']),
  broken('prefixes', 'Bearer is taken off as often as it stands there', ['AUTH-03/prefix'], ['auth.js', "/^Bearer /i.test(token) ? token.slice('Bearer '.length) : token;", "token.replace(/^(Bearer )+/i, '');"]),
  broken('owner-in-any-case', 'the owner of a session is compared without case', ['AUTH-17/owner'], ['notifications.js', owner, "      if (owner?.toLowerCase() !== userId.toLowerCase()) throw new Refusal('session_invalid');"]),
  broken('payload-of-one-member', 'a CONNECT with more than the token is refused', ['AUTH-29/beside'], ['auth.js', 'export function findToken(handshake) {', "export function findToken(handshake) {\n  if (Object.keys(handshake.auth ?? {}).length > 1) refuse('token_invalid');"]),
  broken('target-of-any-type', 'a number as targetUserId names a user', ['EVENT-10/resource'], ['notifications.js', recipient, "  return targetUserId ? String(targetUserId) : resourceId;"]),
  broken('resource-first', 'resourceId names the recipient', ['EVENT-09/target'], ['notifications.js', recipient, '  return resourceId || targetUserId;']),
  broken('target-trimmed', 'spaces around targetUserId are taken off', ['ROOM-05/look-alikes-targeted'], ['notifications.js', recipient, "  return typeof targetUserId === 'string' && targetUserId !== '' ? targetUserId.trim() : resourceId;"]),
  broken('timestamp-as-number', 'timestamps are numbers', ['EVENT-04/timestamp'], made('new Date().toISOString()', 'Date.now()')),
  broken('timestamp-with-offset', 'timestamps have +00:00 in place of Z', ['EVENT-04/timestamp'], made('new Date().toISOString()', "new Date().toISOString().replace('Z', '+00:00')")),
  broken('metadata-as-text', 'metadata is a text', ['EVENT-06/live'], made('metadata,', 'metadata: JSON.stringify(metadata),')),
  broken('metadata-sorted', 'the members of metadata are sorted', ['EVENT-07/order'], made('metadata,', `metadata: JSON.parse(JSON.stringify(metadata), (_, it) => (${sorted})(it)),`)),
  broken('type-left-out', 'the payload has no eventType', ['EVENT-02/access-granted'], made('eventType, actorId', 'actorId')),
  broken('forty-of-a-queue', 'of a queue the newest 40 are delivered', ['QUEUE-03/exactly-50'], ['store.js', 'zrange(queue, 0, -1)', 'zrange(queue, -40, -1)']),
  broken('queue-read-and-deleted', 'a queue is deleted when it is read', ['QUEUE-01/left-early'], ['store.js', '    return { events, dropped:', '    await this.redis.del(queue);\n    return { events, dropped:']),
  broken('queue-deleted-first', 'whoever is refused for a session deletes the queue', ['AUTH-20/no-drain'], ['notifications.js', '      const stay = await this.#enterSession', '      await this.store.redis.del(`queue:${userId}`);\n      const stay = await this.#enterSession']),
  broken('batch-stored-reversed', 'a batch is stored from its end', ['EMIT-03/batch'], ['store.js', '[timeOf(events[at]), text]', '[timeOf(events[at]) - at, text]']),
  broken('queues-shared', 'users whose ids begin alike share a queue', ['QUEUE-04/per-user'], ['store.js', 'return [`queue:${userId}`,', 'return [`queue:${userId.slice(0, 14)}`,']),
  broken('queue-by-websocket-only', 'whoever polls gets no queue', ['QUEUE-01/polling'], ['notifications.js', queued, "    if (payloads.length > 0 && socket.conn.transport.name === 'websocket') socket.emit('queued.events', payloads);"]),
  broken('queue-late', 'the queue comes half a second after the CONNECT', ['QUEUE-11/before-live'], ['notifications.js', '    this.#drain(socket, socket.data);', '    setTimeout(() => this.#drain(socket, socket.data), 500);']),
  broken('no-queue-soon-after', 'whoever comes back within a second gets no queue', ['QUEUE-01/polling'], ['notifications.js', '    if (entries.length === 0) return;', '    const { userId } = socket.data;\n    this.went ??= new Map();\n    socket.once(\'disconnect\', () => this.went.set(userId, Date.now()));\n    if (entries.length === 0 || Date.now() - this.went.get(userId) < 1_000) return;']),
  broken('cap-of-the-server', 'one cap for all users', ['QUEUE-04/per-user'], ['store.js', '    const now = Date.now();', "    const now = Date.now();\n    const all = await this.redis.rpush('all', ...events.map(() => userId));\n    for (let n = all; n > 50; n -= 1) await this.redis.zpopmin(`queue:${await this.redis.lpop('all')}`);"]),
  broken('events-take-an-array', 'an array with one event is an event', ['EMIT-08/refused'], ['http.js', "    checkEvent(request.body, '');", "    if (Array.isArray(request.body) && request.body.length === 1) request.body = request.body[0];\n    checkEvent(request.body, '');"]),
  broken('batch-takes-one', 'an event is a batch of one', ['EMIT-04/size'], ['http.js', "    if (!Array.isArray(events)) bad('a batch is an array of events');", "    if (!Array.isArray(events)) return emit(request, reply, [events], (receipts) => receipts);"]),
  broken('no-id-answered', 'the answer has no eventId', ['EMIT-02/answer'], ['http.js', '({ eventId, delivery }) => ({ eventId, delivery })', '({ delivery }) => ({ delivery })']),
  broken('batch-answered-as-object', 'a batch is answered by an object', ['EMIT-03/batch'], ['http.js', '(receipts) => receipts)', '(receipts) => ({ receipts }))']),
  broken('status-422', 'wrong bodies are answered with 422', ['EMIT-08/refused'], ['http.js', 'const bad = (detail) => {\n  throw new Problem(400,', 'const bad = (detail) => {\n  throw new Problem(422,']),
  broken('no-detail', 'an error has no detail', ['EMIT-09/problems'], ['http.js', 'detail: message, ...members };', 'detail: \'\', ...members };']),
  broken('status-as-text', 'the status in an error is a text', ['EMIT-09/problems'], ['http.js', "?? 'Error', status, detail", "?? 'Error', status: String(status), detail"]),
  broken('large-is-400', 'what is too large is answered with 400', ['EMIT-11/too-large'], ['http.js', "return new Problem(413, 'the body is too large')", "return new Problem(400, 'the body is too large')"]),
  broken('text-is-400', 'what is no JSON by its type is answered with 400', ['EMIT-12/content-type'], ['http.js', "return new Problem(415, 'the Content-Type must be application/json')", "return new Problem(400, 'the Content-Type must be application/json')"]),
  broken('duplicates-refused', 'an event like one of the last second is answered with 409', ['EVENT-06/live'], ['http.js', "    checkEvent(request.body, '');", "    checkEvent(request.body, '');\n    if (this === undefined && request.rawBody.equals(lately)) throw new Problem(409, 'twice');\n    lately = request.rawBody;"], ['http.js', '  const guard = credentialGuard', '  let lately = Buffer.alloc(0);\n  const guard = credentialGuard']),
  broken('no-emitting-to-oneself', 'an actor who is the recipient is refused', ['EVENT-06/queued'], ['http.js', "    checkEvent(request.body, '');", "    checkEvent(request.body, '');\n    if (request.body.actorId === request.body.metadata?.targetUserId) bad('actorId is the recipient');"]),
  broken('long-ids-refused', 'ids over 1,000 letters are refused', ['EVENT-06/live'], ['http.js', "event[name] === '') bad", "event[name] === '' || event[name].length > 1_000) bad"]),
  broken('ascii-ids', 'ids that are not ASCII are refused', ['EVENT-03/members'], ['http.js', "event[name] === '') bad", "event[name] === '' || /[^\\x00-\\x7f]/.test(event[name])) bad"]),
];
