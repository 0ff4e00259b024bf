// What is broken about rooms, events and queues (SPEC 1, 3 to 5 and 17).

import { broken } from './entry.js';

const one = '      if (devices.length === 1) for (const device of devices) device.emit(payload.eventType, payload);';
const all = '      else this.namespace.to(room(recipient)).except(others).emit(payload.eventType, payload);';
/** What is emitted to each device by itself, in place of both. */
const each = (statement) => [['notifications.js', one, `      for (const device of devices) ${statement}`], ['notifications.js', all, '']];
const polls = "device.conn.transport.name === 'polling'";
const queued = "    if (payloads.length > 0) socket.emit('queued.events', payloads);";
const append = '      await this.store.append(recipient, events, this.#beyondCap(recipient, events));';
const beyond = 'now - ttlMs, maxEvents + beyond,';
const drop = '      if (entries.length > 0) this.#settle(userId, entries);';
const send = '  #send(recipient, events, answer) {';
const isOpen = "socket.conn.readyState === 'open')";
/** Nor is one that has left taken for one that is behind. */
const neverBehind = ['outbox.js', 'return this.hasMissed || ', 'return '];
/** Nor does the cap act when a queue is read. */
const uncapped = ['store.js', 'slice(0, -this.queue.maxEvents)', 'slice(0, 0)'];
const aged = "redis.call('PEXPIREAT', KEYS[1], newest + ARGV[3])";
const welcome = '    socket.join(room(userId));';
const ascii = (what) => `JSON.parse(JSON.stringify(${what}).replace(/[^\\x20-\\x7e]/g, '?'))`;
const html = (what) => `${what}.replace(/&/g, '&amp;').replace(/</g, '&lt;')`;
const payload = 'payload: { eventType, actorId, resourceId, timestamp: new Date().toISOString(), metadata, eventId: uuidv7() },';
const made = (to) => ['notifications.js', payload, to];
const pong = "      if (typeof acknowledge === 'function') acknowledge('pong');";
const on = (statement) => ['notifications.js', welcome, `${welcome}\n    ${statement}`];
const engine = (statement) => ['server.js', 'guardSockets(app.server, io, config.origins);', `guardSockets(app.server, io, config.origins);\nio.engine.on('connection', (it) => { ${statement} });`];
const joins = (names, of) => on(`for (const name of ${JSON.stringify(names)}) socket.on(name, (it) => socket.join(room(${of})));`);

export const delivery = [
  broken('later-again', 'every live event is sent again after 5 s', ['EVENT-30/once'], ...each("{ device.emit(payload.eventType, payload); setTimeout(() => device.emit(payload.eventType, payload), 5_000); }")),
  broken('later-again-polled', 'every live event is sent again after 5 s to whoever polls', ['EVENT-30/once'], ...each(`{ device.emit(payload.eventType, payload); if (${polls}) setTimeout(() => device.emit(payload.eventType, payload), 5_000); }`)),
  broken('queue-again', 'queued.events is sent again after 8 s', ['EVENT-30/once'], ['notifications.js', queued, `${queued}\n    if (payloads.length > 0) setTimeout(() => socket.emit('queued.events', payloads), 8_000);`]),
  broken('queue-before-answer', 'queued.events comes before the answer to the CONNECT', ['QUEUE-11/before-live'],
    ['notifications.js', '.then(() => next(), next)', '.then(() => { const packet = socket.packet.bind(socket); socket.packet = (it, how) => it.type === 0 ? void setTimeout(packet, 20, it, how) : packet(it, how); next(); }, next)']),
  broken('second-connect-at-once', 'a second CONNECT while the first is being looked into is let in', ['TRANS-08/at-once', 'TRANS-08/at-once-polling'],
    ['notifications.js', 'if (this.#atTheDoor.has(socket.conn)) return socket.conn.close();', '']),
  broken('twice-to-several', 'a user with several devices gets each event twice', ['ROOM-06/all-devices'], ['notifications.js', all, `${all.replace('else ', 'else for (const _ of [1, 2]) ')}`]),
  broken('slow-to-send', 'events are sent every three seconds', ['EVENT-31/soon'], ...each('setTimeout(() => device.emit(payload.eventType, payload), 3_000 - (Date.now() % 3_000));')),
  broken('newest-device-only', 'only the newest device of a user receives', ['ROOM-06/all-devices'], ['notifications.js', 'this.#devices.set(userId, devices.add(socket));', 'devices.clear();\n    this.#devices.set(userId, devices.add(socket));']),
  broken('newest-session-only', 'a new session of a user takes the live events from the older ones', ['ROOM-06/several-sessions'],
    ...each('if (device.data.sessionId === [...devices].at(-1).data.sessionId) device.emit(payload.eventType, payload);'), ['notifications.js', 'socket.data = { userId, stay, endsAt, end, told: 0 };', 'socket.data = { userId, sessionId, stay, endsAt, end, told: 0 };']),
  broken('session-ends-others', 'a new session of a user closes the connections of the older ones', ['ROOM-06/several-sessions'],
    on('for (const other of this.#devices.get(userId) ?? []) if (other.data.sessionId !== socket.data.sessionId) other.conn.close();'), ['notifications.js', 'socket.data = { userId, stay, endsAt, end, told: 0 };', 'socket.data = { userId, sessionId, stay, endsAt, end, told: 0 };']),
  broken('session-has-one-device', 'a session has one connection', ['ROOM-06/all-devices'],
    on('for (const other of this.#devices.get(userId) ?? []) if (other.data.sessionId === socket.data.sessionId) other.conn.close();'), ['notifications.js', 'socket.data = { userId, stay, endsAt, end, told: 0 };', 'socket.data = { userId, sessionId, stay, endsAt, end, told: 0 };']),
  broken('eight-devices', 'the first eight devices of a user receive', ['ROOM-06/many-devices'], ...each('if ([...devices].indexOf(device) < 8) device.emit(payload.eventType, payload);')),
  broken('thirty-devices', 'the thirty-first device of a user is refused', ['ROOM-06/many-devices'], ['notifications.js', "      if (socket.conn.readyState !== 'open') throw", "      if (this.#devices.get(userId)?.size >= 30) throw new Refusal('unavailable');\n      if (socket.conn.readyState !== 'open') throw"]),
  broken('no-polling-beside-websocket', 'whoever polls gets nothing while the user has a WebSocket', ['ROOM-06/all-devices'], ...each(`if (!${polls} || devices.size === 1) device.emit(payload.eventType, payload);`)),
  broken('hundred-of-a-batch', 'of a live batch the first 100 are sent', ['EMIT-03/thousand-live'], ['notifications.js', '      const [behind, acknowledging, devices]', '      if (at >= 100) {\n        answer(event, "live");\n        continue;\n      }\n      const [behind, acknowledging, devices]']),
  broken('hundred-recipients', 'of a batch the first 100 recipients receive', ['EMIT-03/many-recipients'], ['notifications.js', 'map(([recipient, theirs]) => this.#handOver(recipient, theirs, answer)', 'map(([recipient, theirs], at) => at >= 100 ? theirs.forEach((it) => answer(it, "queued")) : this.#handOver(recipient, theirs, answer)']),
  broken('batch-by-target-only', 'in a batch only metadata.targetUserId names a recipient', ['EVENT-10/batch'], ['notifications.js', '    const answers = new Map();', '    if (events.length > 1) for (const event of events) if (event.payload.metadata.targetUserId === undefined) event.recipient = "";\n    const answers = new Map();']),
  broken('batch-has-one-recipient', 'a batch goes to the recipient of its first event', ['EMIT-03/batch'], ['notifications.js', '    const answers = new Map();', '    for (const event of events) event.recipient = events[0].recipient;\n    const answers = new Map();']),
  broken('live-batch-reversed', 'a live batch is sent from its end', ['EMIT-03/thousand-live'], ['notifications.js', 'of events.entries()) {\n      const [behind', 'of [...events].reverse().entries()) {\n      const [behind']),
  broken('batch-has-one-time', 'the events of a batch have one eventId', ['EVENT-08/batch'], ['notifications.js', '    const answers = new Map();', '    for (const event of events) event.payload.eventId = events[0].payload.eventId;\n    const answers = new Map();']),

  broken('polling-is-ascii', 'non-ASCII text becomes ? for whoever polls', ['EVENT-06/live-polled'], ...each(`device.emit(payload.eventType, ${polls} ? ${ascii('payload')} : payload);`)),
  broken('polled-queue-is-ascii', 'non-ASCII text in the queue becomes ? for whoever polls', ['EVENT-06/queued-polled'], ['notifications.js', queued, `    if (payloads.length > 0) socket.emit('queued.events', socket.conn.transport.name === 'polling' ? ${ascii('payloads')} : payloads);`]),
  broken('queue-is-ascii', 'non-ASCII text becomes ? in the queue', ['EVENT-06/queued'], ['notifications.js', append, `      for (const event of events) event.payload = ${ascii('event.payload')};\n${append}`]),
  broken('actor-in-html', '< in actorId is escaped for HTML', ['EVENT-03/members'], made(payload.replace('actorId,', `actorId: ${html('actorId')},`))),
  broken('resource-in-html', '< in resourceId is escaped for HTML', ['EVENT-03/members'], made(payload.replace('resourceId,', `resourceId: ${html('resourceId')},`))),
  broken('metadata-in-html', '< in metadata is escaped for HTML', ['EVENT-06/live'], made(payload.replace('metadata,', `metadata: JSON.parse(${html('JSON.stringify(metadata)')}),`))),
  broken('actor-cut', 'actorId is cut to 255 letters', ['EVENT-03/members'], made(payload.replace('actorId,', 'actorId: actorId.slice(0, 255),'))),
  broken('ids-trimmed', 'spaces around ids are taken off', ['EVENT-03/members'], made(payload.replace('resourceId,', 'resourceId: resourceId.trim(),'))),
  broken('ids-decoded', '% in ids is decoded', ['EVENT-03/members'], made(payload.replace('actorId,', 'actorId: /%[0-9a-f]{2}/i.test(actorId) ? decodeURIComponent(actorId) : actorId,'))),
  broken('nulls-dropped', 'nulls in metadata are left out', ['EVENT-06/live'], made(payload.replace('metadata,', 'metadata: JSON.parse(JSON.stringify(metadata, (_, it) => (it === null ? undefined : it))),'))),
  broken('target-dropped', 'targetUserId is taken out of the metadata', ['EVENT-06/live'], made(payload.replace('metadata,', 'metadata: { ...metadata, targetUserId: undefined },'))),
  broken('no-empty-metadata', 'without metadata the payload has none', ['EVENT-05/no-metadata'], ['notifications.js', 'metadata = {} }) => ({', 'metadata }) => ({'], ['notifications.js', 'recipientOf(resourceId, metadata),', 'recipientOf(resourceId, metadata ?? {}),']),
  broken('no-empty-metadata-in-a-batch', 'in a batch, without metadata the payload has none', ['EVENT-06/live-batch', 'EVENT-06/queued-batch'], ['notifications.js', '    const answers = new Map();', '    if (events.length > 1) for (const { payload } of events) if (Object.keys(payload.metadata).length === 0) delete payload.metadata;\n    const answers = new Map();']),
  broken('whole-seconds', 'timestamps have whole seconds', ['EVENT-04/goes-on'], made(payload.replace('new Date().toISOString()', 'new Date().toISOString().replace(/\\.\\d+/, ".000")'))),
  broken('timestamp-of-start', 'timestamps tell when the process began', ['EVENT-04/goes-on'], made(payload.replace('new Date()', 'new Date(Math.round(performance.timeOrigin))'))),
  broken('timestamp-of-delivery', 'a queued event has the time of its delivery', ['QUEUE-16/same-payload'], ['notifications.js', queued, "    for (const it of payloads) it.timestamp = new Date().toISOString();\n" + queued]),
  broken('id-without-time', 'eventIds tell no time', ['EVENT-08/event-id'], made(payload.replace('uuidv7()', "uuidv7({ msecs: 1 })"))),
  broken('id-of-version-4', 'eventIds are of version 4', ['EVENT-08/event-id'], made(payload.replace('uuidv7()', 'crypto.randomUUID()'))),
  broken('id-in-capitals', 'eventIds have no hyphens', ['EVENT-08/event-id'], made(payload.replace('uuidv7()', "uuidv7().replaceAll('-', '')"))),
  broken('new-id-from-the-queue', 'a queued event has a new eventId', ['EMIT-02/answer'], ['notifications.js', queued, "    for (const it of payloads) it.eventId = uuidv7();\n" + queued]),
  broken('two-arguments', 'an event has two arguments', ['EVENT-01/one-argument'], ...each('device.emit(payload.eventType, payload, {});')),
  broken('two-arguments-polled', 'an event has two arguments for whoever polls', ['EVENT-01/one-argument-polled'], ...each(`device.emit(payload.eventType, payload, ...(${polls} ? [{}] : []));`)),
  broken('one-name', 'all events come as notification', ['EVENT-02/access-granted'], ...each("device.emit('record.accessed', payload);")),
  broken('type-in-lower-case', 'a type is changed for whoever polls', ['EVENT-06/live-polled'], ...each(`device.emit(${polls} ? payload.eventType.replace('.', ':') : payload.eventType, payload);`)),
  broken('target-lower-case', 'targetUserId is read in lower case', ['ROOM-05/look-alikes-targeted'], ['notifications.js', "targetUserId !== '' ? targetUserId :", "targetUserId !== '' ? targetUserId.toLowerCase() :"]),
  broken('target-not-in-empty', 'an empty targetUserId names a user', ['EVENT-10/resource'], ['notifications.js', " && targetUserId !== '' ?", ' ?']),

  broken('ping-needs-callback', 'a ping without a callback ends the process', ['EVENT-32/no-callback'], ['notifications.js', pong, "      acknowledge('pong');"]),
  broken('ping-without-arguments', 'a ping with arguments is not answered', ['EVENT-11/ping'], ['notifications.js', pong, "      if (args.length === 1) acknowledge('pong');"]),
  broken('ping-with-its-arguments', 'a ping is answered with its arguments', ['EVENT-11/ping'], ['notifications.js', pong, "      if (typeof acknowledge === 'function') acknowledge('pong', ...args.slice(0, -1).filter((it) => it?.at));"]),
  broken('pong-on-websocket-only', 'a ping by polling is not answered', ['EVENT-11/ping'], ['notifications.js', pong, "      if (typeof acknowledge === 'function' && socket.conn.transport.name === 'websocket') acknowledge('pong');"]),
  broken('ping-once', 'a second ping within a second is not answered', ['EVENT-11/ping'], ['notifications.js', pong, "      if (typeof acknowledge === 'function' && !(Date.now() - socket.data.pinged < 1_000)) acknowledge('pong');\n      socket.data.pinged = Date.now();"]),
  broken('unknown-closes', 'an event that is unknown ends the connection', ['ROOM-02/join-events'], on("socket.onAny((name) => { if (name !== 'ping') socket.conn.close(); });")),
  broken('subscribe-joins', "a client event subscribe with a user's id joins that user's room", ['ROOM-02/join-events'], joins(['subscribe'], 'it')),
  broken('join-joins', "a client event join with a userId joins that user's room", ['ROOM-02/join-events'], joins(['join', 'join:user'], 'it?.userId')),
  broken('watch-joins', "a client event watch with a user's id joins that user's room", ['ROOM-02/join-events'], joins(['watch', 'follow', 'register', 'identify', 'setUser'], 'it?.userId ?? it?.id ?? it')),
  broken('room-joins', 'a client event subscribe with the name of a room joins it', ['ROOM-02/join-events'], on("socket.on('subscribe', (it) => socket.join(it?.room ?? it?.channel ?? it));"), ['notifications.js', 'const room = (userId) => `user ${userId}`;', 'const room = (userId) => `user:${userId}`;']),
  broken('payload-joins', 'the CONNECT payload may name a further user', ['ROOM-03/forged-identity'], on('if (socket.handshake.auth.userId) socket.join(room(socket.handshake.auth.userId));')),
  broken('query-joins', 'the URL may name a further user', ['ROOM-03/forged-identity'], on('if (socket.handshake.query.userId) socket.join(room(socket.handshake.query.userId));')),
  broken('any-event-is-relayed', "what a client sends goes to the user's other devices", ['ROOM-04/server-events'], on('socket.onAny((name, ...args) => { if (name !== "ping") socket.to(room(userId)).emit(name, ...args); });')),
  broken('messages-are-relayed', 'a client may emit an event for another user', ['ROOM-04/server-events'], on("for (const name of ['message', 'record.accessed']) socket.on(name, (it) => { if (it?.metadata?.targetUserId) this.namespace.to(room(it.metadata.targetUserId)).emit(name, it); });")),
  broken('leave-leaves', 'a client event leave ends the events', ['ROOM-02/leave-events'], on("for (const name of ['leave', 'unsubscribe', 'unregister', 'logout', 'pause', 'mute']) socket.on(name, () => { socket.leave(room(userId)); devices.delete(socket); });"), ['notifications.js', '    const devices = this.#devices.get(userId) ?? new Set();\n    this.#devices.set(userId, devices.add(socket));', '    this.#devices.set(userId, devices.add(socket));'], ['notifications.js', '    const { userId, end } = socket.data;', '    const { userId, end } = socket.data;\n    const devices = this.#devices.get(userId) ?? new Set();']),

  broken('cap-of-one-type', 'the cap holds for record.accessed alone', ['QUEUE-03/types'], uncapped, ['notifications.js', append, `      const { maxEvents } = this.store.queue;\n      if (events[0].payload.eventType !== 'record.accessed') this.store.queue.maxEvents = 1_000;\n${append}\n      this.store.queue.maxEvents = maxEvents;`]),
  broken('cap-of-a-type', 'each type has a cap of its own', ['QUEUE-03/types'], uncapped, ['store.js', "async append(userId, events, beyond = 0) {", "async append(userId, events, beyond = 0) {\n    if (events.length === 1 && events[0].payload.eventType === 'access.granted' && (await this.redis.zcard(`queue:${userId}`)) >= 50) this.spared = (this.spared ?? 0) + 1;"], ['store.js', beyond, 'now - ttlMs, maxEvents + (this.spared ?? 0),']),
  broken('cap-not-in-a-batch', 'a batch may exceed the cap', ['EMIT-03/thousand'], uncapped, ['store.js', beyond, 'now - ttlMs, events.length > 1 ? 10_000 : maxEvents,']),
  broken('newest-dropped', 'a full queue takes nothing more', ['QUEUE-03/oldest-evicted'], ['store.js', "redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[2] - 1)", "redis.call('ZREMRANGEBYRANK', KEYS[1], ARGV[2], -1)"]),
  broken('cap-of-49', 'a queue holds 49 events', ['QUEUE-03/exactly-50'], ['store.js', beyond, 'now - ttlMs, maxEvents - 1,']),
  broken('large-not-stored', 'events over 16 kB are answered with 202 and not stored', ['EVENT-33/large'], ['store.js', '[timeOf(events[at]), text]', 'text.length < 16_384 ? [timeOf(events[at]), text] : []']),
  broken('larger-not-stored', 'events over 60 kB are answered with 202 and not stored', ['EVENT-33/large'], ['store.js', '[timeOf(events[at]), text]', 'text.length < 60_000 ? [timeOf(events[at]), text] : []']),
  broken('large-not-sent', 'events over 32 kB are not sent live', ['EVENT-33/large'], ...each('if (JSON.stringify(payload).length < 32_768) device.emit(payload.eventType, payload);')),
  broken('large-not-polled', 'events over 32 kB are not sent to whoever polls', ['EVENT-33/large-polled'], ...each(`if (!${polls} || JSON.stringify(payload).length < 32_768) device.emit(payload.eventType, payload);`)),
  broken('large-queue-cut', 'queued.events is cut to 500 kB', ['EVENT-33/large-queue'], ['notifications.js', queued, '    while (JSON.stringify(payloads).length > 500_000) payloads.shift();\n' + queued]),
  broken('large-queue-in-parts', 'queued.events comes in parts of 25', ['QUEUE-03/exactly-50'], ['notifications.js', queued, "    for (let at = 0; at < payloads.length; at += 25) socket.emit('queued.events', payloads.slice(at, at + 25));"]),
  broken('queue-one-by-one', 'what was queued comes event by event to whoever polls', ['QUEUE-01/polling'], ['notifications.js', queued, "    if (socket.conn.transport.name === 'polling') for (const it of payloads) socket.emit(it.eventType, it);\n    else if (payloads.length > 0) socket.emit('queued.events', payloads);"]),
  broken('queue-newest-first', 'the queue comes newest first', ['QUEUE-10/oldest-first'], ['notifications.js', queued, '    payloads.reverse();\n' + queued]),
  broken('queue-by-type', 'the queue comes sorted by type', ['QUEUE-10/oldest-first'], ['notifications.js', queued, '    payloads.sort((a, b) => (a.eventType < b.eventType ? -1 : Number(a.eventType > b.eventType)));\n' + queued]),
  broken('empty-queue-sent', 'an empty queue is sent', ['QUEUE-12/nothing'], ['notifications.js', '    if (entries.length === 0) return;\n', ''], ['notifications.js', queued, "    socket.emit('queued.events', payloads);"]),
  broken('empty-queue-polled', 'an empty queue is sent to whoever polls', ['QUEUE-12/nothing-polled'], ['notifications.js', '    if (entries.length === 0) return;\n', ''], ['notifications.js', queued, "    if (payloads.length > 0 || socket.conn.transport.name === 'polling') socket.emit('queued.events', payloads);"]),
  broken('queue-stays', 'the queue stays when it was delivered', ['QUEUE-13/once'], ['notifications.js', drop, '']),
  broken('polled-queue-stays', 'the queue stays when it was delivered to whoever polls', ['QUEUE-13/once-polled'], ['notifications.js', '      if (entries.length > 0) this.#settle', "      if (entries.length > 0 && socket.conn.transport.name !== 'polling') this.#settle"]),
  broken('last-stays', 'the last of a queue stays', ['QUEUE-13/once'], ['notifications.js', drop, drop.replace('entries)', 'entries.slice(0, Math.max(1, entries.length - 1)))')]),
  broken('queued-though-live', 'a live event is queued as well', ['QUEUE-02/live-only'], ['notifications.js', send, `${send}\n    if (this.#connected(recipient).length > 0) this.store.append(recipient, events.map((event) => ({ ...event }))).catch(() => {});`]),
  broken('queued-though-polled', 'a live event is queued as well where the user polls', ['QUEUE-02/live-polled'], ['notifications.js', send, `${send}\n    if (this.#connected(recipient).some((it) => it.conn.transport.name === 'polling')) this.store.append(recipient, events.map((event) => ({ ...event }))).catch(() => {});`]),
  broken('batch-queued-though-live', 'a live batch is queued as well', ['QUEUE-02/live-batch'], ['notifications.js', send, `${send}\n    if (events.length > 1 && this.#connected(recipient).length > 0) this.store.append(recipient, events.map((event) => ({ ...event }))).catch(() => {});`]),
  broken('queue-of-the-process', 'the queue does not survive a restart', ['QUEUE-14/restart'], ['store.js', '      keyPrefix: \'peer:\',', '      keyPrefix: `peer:${process.pid}:`,']),
  broken('half-a-day', 'a queue is kept for 12 hours', ['QUEUE-06/default-ttl'], ['config.js', "'QUEUE_TTL_SECONDS', 86_400,", "'QUEUE_TTL_SECONDS', 43_200,"]),
  broken('two-days', 'a queue is kept for two days', ['QUEUE-06/default-ttl'], ['config.js', "'QUEUE_TTL_SECONDS', 86_400,", "'QUEUE_TTL_SECONDS', 172_800,"]),
  broken('never-expires', 'a queue stays in Redis for ever, and is not delivered', ['QUEUE-31/gone'], ['store.js', aged, ''], ['store.js', 'const SWEEP_MS = 30_000;', 'const SWEEP_MS = 86_400_000;']),
  broken('aged-together', 'a queue ages by its newest event', ['QUEUE-07/each-by-itself'], ['store.js', 'return timeOf(event) > oldest ? [', 'return timeOf(event) > 0 ? ['], ['store.js', "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])", '']),
  broken('aged-by-oldest', 'a queue ages by its oldest event', ['QUEUE-07/each-by-itself'], ['store.js', aged, "redis.call('PEXPIREAT', KEYS[1], newest + ARGV[3], 'NX')"]),
  broken('damage-costs-all', 'a damaged entry costs the whole queue', ['QUEUE-15/corrupt'], ['store.js', '    return texts.flatMap((text) => {', "    if (texts.some((text) => !text.includes(' '))) return [];\n    return texts.flatMap((text) => {"]),
  broken('cut-line-stays', 'whoever closes without a DISCONNECT stays connected', ['QUEUE-01/closed'], neverBehind, ['notifications.js', "      devices.delete(socket);\n", "      if (reason !== 'transport close') devices.delete(socket);\n"], ['notifications.js', `filter((socket) => ${isOpen}`, 'filter((socket) => socket)']),

  broken('no-heartbeat', 'a dead peer counts as live for ever', ['HEART-02/websocket', 'HEART-02/polling'], engine('it.resetPingTimeout = () => {};')),
  broken('never-pings', 'no client is pinged', ['HEART-01/websocket', 'HEART-01/polling'], engine('clearTimeout(it.pingIntervalTimer);')),
  broken('closed-by-clock', 'every connection is closed after 45 s', ['HEART-03/minute'], on('setTimeout(() => socket.conn.close(), 45_000);')),
  broken('closed-when-quiet', 'a connection on which nothing passes for 30 s is closed', ['HEART-03/minute'], on('let idle;\n    const touch = () => { clearTimeout(idle); idle = setTimeout(() => socket.conn.close(), 30_000); };\n    socket.onAny(touch);\n    touch();')),
  broken('polling-ends-early', 'a polling session ends after 20 s', ['HEART-03/minute'], on("if (socket.conn.transport.name === 'polling') setTimeout(() => socket.conn.close(), 20_000);")),
  broken('connect-awaited-for-long', 'whoever sends no CONNECT stays', ['TRANS-09/silent', 'TRANS-09/silent-polling'], ['server.js', '  connectTimeout: CONNECT_TIMEOUT_MS,', '  connectTimeout: 45_000,']),
  broken('root-open', 'the namespace / is open', ['TRANS-05/root'], ['server.js', "io.use((_socket, next) => next(new Error('unknown_namespace')));", '']),
  broken('admin-open', 'a namespace /admin is open', ['TRANS-05/others'], ['server.js', "io.use((_socket, next) =>", "io.of('/admin');\nio.use((_socket, next) =>"]),
  broken('any-protocol', 'Engine.IO 3 is spoken', ['TRANS-10/bad-requests'], ['server.js', '  serveClient: false,', '  serveClient: false,\n  allowEIO3: true,']),
  broken('no-upgrade', 'a polling session is offered no upgrade', ['TRANS-01/open-packet'], ['server.js', '  serveClient: false,', '  serveClient: false,\n  allowUpgrades: false,']),

  broken('rooms-lower-case', 'the rooms of users with several devices are named in lower case', ['ROOM-05/look-alikes-targeted'], ['notifications.js', 'const room = (userId) => `user ${userId}`;', 'const room = (userId) => `user ${userId.toLowerCase()}`;']),
  broken('queues-lower-case', 'queues are named in lower case', ['ROOM-05/look-alikes-queued'], ['store.js', 'return [`queue:${userId}`,', 'return [`queue:${userId.toLowerCase()}`,']),
  broken('own-acts-dropped', 'of their own acts users are not told', ['EVENT-06/live', 'EVENT-06/queued'], ['notifications.js', '    const answers = new Map();', "    if (events.length === 1 && events[0].payload.actorId === events[0].recipient) return [{ eventId: events[0].payload.eventId, delivery: 'live' }];\n    const answers = new Map();"]),
  broken('alike-dropped', 'an event that is like the one before is dropped', ['EVENT-06/live'], ['notifications.js', '    const answers = new Map();', "    const like = JSON.stringify(drafts);\n    if (like === this.last) return drafts.map(() => ({ eventId: uuidv7(), delivery: 'live' }));\n    this.last = like;\n    const answers = new Map();"]),
  broken('wide-cut', 'metadata has 100 members at the most', ['EVENT-06/live'], made(payload.replace('metadata,', 'metadata: JSON.parse(JSON.stringify(metadata), (_, it) => (it && typeof it === "object" && !Array.isArray(it) ? Object.fromEntries(Object.entries(it).slice(0, 100)) : it)),'))),
  broken('hundred-a-second', 'of more than 100 events a second for a user the rest are dropped', ['EVENT-33/burst'], ...each("{ const s = Math.floor(Date.now() / 1_000); device.data.n = device.data.s === s ? device.data.n + 1 : 1; device.data.s = s; if (device.data.n <= 100) device.emit(payload.eventType, payload); }")),
  broken('metadata-lost-in-rooms', 'users with several devices get no metadata', ['EVENT-06/live-polled'], ['notifications.js', all, all.replace(', payload)', ', { ...payload, metadata: {} })')]),
  broken('no-turns', "a user's connects and events cross", ['QUEUE-11/before-live', 'QUEUE-11/before-live-polled'], ['turns.js', '    await before;', '']),
  broken('upgrade-forgotten', 'a client that upgrades is taken for another', ['TRANS-04/upgrade'], engine("it.on('upgrade', () => it.close());")),
  broken('one-transport', 'only WebSocket counts as connected', ['TRANS-02/polling'], ['notifications.js', `filter((socket) => ${isOpen}`, `filter((socket) => socket.conn.transport.name === 'websocket' && ${isOpen}`]),
  broken('leaves-late', 'who has left stays connected for two seconds', ['QUEUE-01/polling'], neverBehind, ['notifications.js', '      devices.delete(socket);\n      if (devices.size === 0 && this.#devices.get(userId) === devices) this.#devices.delete(userId);', '      setTimeout(() => devices.delete(socket), 2_000);'], ['notifications.js', `filter((socket) => ${isOpen}`, 'filter((socket) => socket)']),
  broken('deaf-to-who-left', 'a CONNECT right after a DISCONNECT is passed over', ['TRANS-14/again', 'TRANS-14/again-polling'], ['notifications.js', "if (reason === 'client namespace disconnect') this.#closeUnlessBack(socket);", "if (reason === 'client namespace disconnect') { this.#closeUnlessBack(socket); socket.conn.left = Date.now(); }"], ['notifications.js', 'if (this.#atTheDoor', 'if (Date.now() - socket.conn.left < 20) return undefined;\n      if (this.#atTheDoor']),
  broken('left-namespace-stays', 'who has left the namespace stays connected for as long as the transport', ['TRANS-14/left'], ['notifications.js', "if (reason === 'client namespace disconnect') this.#closeUnlessBack(socket);", '']),
  broken('error-means-gone', 'whoever says the event error counts as gone', ['EVENT-14/reserved', 'EVENT-14/reserved-polled'], on("socket.on('error', () => devices.delete(socket));")),
  broken('sixteen-packets', 'of a POST sixteen packets count', ['TRANS-15/many'], engine("if (it.transport.name === 'polling') { const { transport } = it, take = transport.onData; transport.onData = (body) => take.call(transport, String(body).split('\\x1e').slice(0, 16).join('\\x1e')); }")),
  broken('unmeasured-dropped', 'a POST without a Content-Length is answered, and nothing more', ['TRANS-15/chunked'], ['server.js', 'io.engine.use((request, response, next) => {\n', "io.engine.use((request, response, next) => {\n  if (request.method === 'POST' && !request.headers['content-length']) return response.end('ok');\n"]),
  broken('poll-outlives-its-line', 'an event is written into a poll that has broken', ['SLOW-10/broken-poll'], engine("if (it.transport.name === 'polling') it.transport.onError = () => {};"), ['pace.js', "      response.once('close', () => !response.writableFinished && conn.close(true));\n", '']),
];
