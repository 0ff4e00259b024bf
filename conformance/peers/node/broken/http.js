// What is broken about emitting over HTTP, and about what errors and logs tell (SPEC 6, 8 and 19).

import { broken } from './entry.js';

const compared = '    if (!timingSafeEqual(digest(request.headers.authorization ?? \'\'), expected)) {';
const credential = (wrong) => ['http.js', compared, `    if (${wrong}) {`];
const given = "request.headers.authorization ?? ''";
const right = '`Bearer ${credential}`';
const answers = (to) => ['store.js', "await this.redis.set(`used:${key}`, JSON.stringify(used), 'PX', ANSWERS_MS);", to];
const known = '    const known = untold.get(key) ?? (await stored(store.used(key)));';
const emitBatch = '    return emit(request, reply, events, (receipts) => receipts);';
const checkBatch = '    events.forEach((event, at) => checkEvent(event, `[${at}].`));';
const errors = (to) => ['http.js', '    await drained(request.raw);', `    await drained(request.raw);\n    ${to}`];
const document = 'detail: message, ...members };';
const emitted = '  async emit(drafts) {';
const logs = (what) => ['notifications.js', emitted, `${emitted}\n    console.log(${what});`];
const put = '    await stored(store.putSession(';

export const http = [
  broken('credential-by-beginning', 'the service credential is compared by its beginning', ['EMIT-01/credential'], credential(`!(${given}).startsWith(${right})`)),
  broken('credential-by-part', 'a part of the service credential is enough', ['EMIT-01/credential'], credential(`!${right}.startsWith(${given}) || (${given}).length < 8`)),
  broken('credential-in-any-case', 'the case of the service credential is not looked at', ['EMIT-01/credential'], credential(`(${given}).toLowerCase() !== ${right}.toLowerCase()`)),
  broken('credential-in-query', 'the service credential is taken from the query', ['EMIT-01/elsewhere'], credential(`(${given}) !== ${right} && request.query.token !== credential && request.query.access_token !== credential`)),
  broken('credential-in-cookie', 'the service credential is taken from a cookie', ['EMIT-01/elsewhere'], credential(`(${given}) !== ${right} && !request.headers.cookie?.includes(credential)`)),
  broken('credential-as-key', 'the service credential is taken from X-Api-Key', ['EMIT-01/elsewhere'], credential(`(${given}) !== ${right} && request.headers['x-api-key'] !== credential`)),
  broken('credential-without-scheme', 'the service credential is taken without Bearer', ['EMIT-01/credential'], credential(`(${given}) !== ${right} && (${given}) !== credential`)),
  broken('batches-open', 'batches want no credential', ['EMIT-01/credential'], ['http.js', '{ onRequest: guard, bodyLimit: BATCH_BYTES }', '{ bodyLimit: BATCH_BYTES }']),
  broken('revocation-open', 'a session is revoked without a credential', ['EMIT-01/credential'], ['http.js', "app.delete('/sessions/:id', { onRequest: guard },", "app.delete('/sessions/:id', {},"]),
  broken('users-emit', "a user's token is a credential", ['EMIT-01/credential'], credential(`(${given}) !== ${right} && !(${given}).startsWith('Bearer ey')`)),

  broken('answers-for-10-s', 'answers to an Idempotency-Key are kept for 10 s', ['EMIT-06/minute'], answers("await this.redis.set(`used:${key}`, JSON.stringify(used), 'PX', 10_000);")),
  broken('answers-for-an-hour', 'answers to an Idempotency-Key are kept for an hour', ['EMIT-06/kept'], answers("await this.redis.set(`used:${key}`, JSON.stringify(used), 'PX', 3_600_000);")),
  broken('answers-of-the-process', 'answers to an Idempotency-Key are not kept over a restart', ['EMIT-06/kept'], answers('(this.answers ??= new Map()).set(key, used);'), ['store.js', '    return JSON.parse(await this.redis.get(`used:${key}`));', '    return this.answers?.get(key) ?? null;']),
  broken('routes-share-keys', 'every route shares the keys', ['EMIT-21/routes'], ['http.js', '`${request.routeOptions.url} ${given}`', '` ${given}`']),
  broken('body-part-of-key', 'the body is part of an Idempotency-Key', ['EMIT-19/another-body'], ['http.js', '`${request.routeOptions.url} ${given}`', '`${request.routeOptions.url} ${given} ${body}`']),
  broken('first-answer-for-all', 'another body is given the first answer', ['EMIT-19/another-body'], ['http.js', 'if (firstBody !== body && accepted.length > 0)', 'if (false)'], ['http.js', '(known && known.body !== body)', 'false']),
  broken('bad-requests-kept', 'a key of a refused request is used up', ['EMIT-20/refused'], ['http.js', "    checkEvent(request.body, '');\n", "    const key = request.headers['idempotency-key'];\n    if (key && used.has(key)) throw new Problem(422, 'Idempotency-Key was used');\n    try {\n      checkEvent(request.body, '');\n    } catch (error) {\n      used.add(key);\n      throw error;\n    }\n"], ['http.js', '  const guard = credentialGuard', '  const used = new Set();\n  const guard = credentialGuard']),
  broken('refusals-kept', 'a 503 is kept as the answer', ['EMIT-34/after-503'], ['http.js', '.finally(() => inHand.delete(key));', '.then((it) => { inHand.delete(key); return it; });']),
  broken('keys-cut', 'an Idempotency-Key counts by its first 32 letters', ['EMIT-06/alike'], ['http.js', '${given}`;', '${given.slice(0, 32)}`;']),
  broken('keys-in-any-case', 'the case of an Idempotency-Key is not looked at', ['EMIT-06/alike'], ['http.js', '${given}`;', '${given.toLowerCase()}`;']),
  broken('repeated-emits', 'a repeated Idempotency-Key emits', ['EMIT-06/repeated'], ['http.js', known, '    const known = undefined;']),
  broken('repeated-live-emits', 'a repeated Idempotency-Key emits where the user is connected', ['EMIT-06/live'], ['http.js', known, "    const found = untold.get(key) ?? (await stored(store.used(key)));\n    const known = found?.accepted.some((it) => it.delivery === 'live') ? undefined : found;"]),
  broken('at-once-emits', 'a key that is in hand emits once more', ['EMIT-06/concurrent'], ['http.js', '    if (!used) {', '    if (used !== null) {']),
  broken('batch-keys-ignored', 'a batch has no Idempotency-Key', ['EMIT-06/repeated'], ['http.js', emitBatch, `    delete request.headers['idempotency-key'];\n${emitBatch}`]),

  broken('batches-over-512-kb', 'batches over 512 kB are refused', ['EMIT-03/large'], ['http.js', 'const BATCH_BYTES = 4 * 1024 * 1024;', 'const BATCH_BYTES = 512 * 1024;']),
  broken('batches-over-2-mb', 'batches over 2 MB are refused', ['EMIT-03/large'], ['http.js', 'const BATCH_BYTES = 4 * 1024 * 1024;', 'const BATCH_BYTES = 2_000_000;']),
  broken('batches-of-999', 'batches of 1,000 are refused', ['EMIT-03/thousand'], ['http.js', 'const BATCH_EVENTS = 1_000;', 'const BATCH_EVENTS = 999;']),
  broken('events-of-100-kb', 'events of 100 kB are accepted', ['EMIT-11/too-large'], ['http.js', 'const EVENT_BYTES = 64 * 1024;', 'const EVENT_BYTES = 100_000;']),
  broken('batch-unchecked', 'the events of a batch are not checked', ['EMIT-08/in-a-batch'], ['http.js', checkBatch, '']),
  broken('first-of-batch-checked', 'of a batch the first event is checked', ['EMIT-08/in-a-batch'], ['http.js', checkBatch, "    checkEvent(events[0], '[0].');"]),
  broken('type-unchecked-in-batch', 'in a batch eventType is not checked', ['EMIT-08/in-a-batch'], ['http.js', checkBatch, "    events.forEach((event, at) => checkEvent(isObject(event) ? { ...event, ...(typeof event.eventType === 'string' && event.eventType ? { eventType: 'record.accessed' } : {}) } : event, `[${at}].`));"]),
  broken('batch-begun', 'a batch is emitted up to its wrong event', ['EMIT-04/refused-whole-live', 'EMIT-04/refused-whole'], ['http.js', checkBatch, "    const isWrong = (event, at) => {\n      try {\n        checkEvent(event, `[${at}].`);\n        return false;\n      } catch {\n        return true;\n      }\n    };\n    const wrong = events.findIndex(isWrong);\n    if (wrong > 0) return notifications.emit(events.slice(0, wrong)).then(() => checkEvent(events[wrong], `[${wrong}].`));\n    if (wrong === 0) checkEvent(events[0], '[0].');"]),
  broken('batch-filtered', 'wrong events of a batch are left out', ['EMIT-04/refused-whole'], ['http.js', checkBatch, "    request.body = events.filter((event) => { try { checkEvent(event, ''); return true; } catch { return false; } });"], ['http.js', emitBatch, emitBatch.replace('events', 'request.body')]),
  broken('empty-actor', 'an empty actorId is accepted', ['EMIT-08/refused'], ['http.js', "for (const name of ['eventType', 'actorId', 'resourceId']) {", "for (const name of ['eventType', 'actorId', 'resourceId']) {\n    if (name === 'actorId' && event[name] === '') continue;"]),
  broken('numeric-resource', 'a number as resourceId is accepted', ['EMIT-08/refused'], ['http.js', "for (const name of ['eventType', 'actorId', 'resourceId']) {", "if (typeof event.resourceId === 'number') event.resourceId = String(event.resourceId);\n  for (const name of ['eventType', 'actorId', 'resourceId']) {"]),
  broken('metadata-null', 'metadata that is null is accepted', ['EMIT-08/refused'], ['http.js', 'if (event.metadata !== undefined && ', 'event.metadata ??= undefined;\n  if (event.metadata !== undefined && ']),
  broken('metadata-array', 'metadata that is an array is accepted', ['EMIT-08/refused'], ['http.js', 'if (event.metadata !== undefined && !isObject(event.metadata))', "if (event.metadata !== undefined && (typeof event.metadata !== 'object' || event.metadata === null))"]),
  broken('unknown-members', 'unknown members are accepted', ['EMIT-08/refused'], ['http.js', 'const unknown = Object.keys(body).find((name) => !members.has(name));', 'const unknown = undefined;']),
  broken('any-type', 'any eventType is accepted', ['EMIT-08/refused'], ['http.js', '  if (!EVENT_TYPES.has(event.eventType)) bad', '  if (!/^\\w+\\.\\w+$/.test(event.eventType)) bad']),
  broken('session-unchecked', 'what a session is made of is not checked', ['EMIT-05/sessions'], ['http.js', 'const { userId, expiresAt } = checkSession(request.body);', 'const { userId, expiresAt } = request.body;']),
  broken('expires-at-any', 'any text is an expiresAt', ['EMIT-05/sessions'], ['http.js', ' && RFC_3339.test(expiresAt) && !Number.isNaN(Date.parse(expiresAt)))', ')']),
  broken('session-id-undecoded', 'the id of a session in the URL is not decoded', ['EMIT-05/odd-ids'], ['http.js', put, "    request.params.id = request.url.split('/').at(-1);\n" + put]),
  broken('session-id-lower', 'the id of a session is read in lower case', ['EMIT-05/odd-ids'], ['http.js', put, '    request.params.id = request.params.id.toLowerCase();\n' + put]),
  broken('revokes-none', 'a session that is not there is revoked with 204', ['EMIT-05/sessions'], ['http.js', "if (!wasThere) throw new Problem(404, 'there is no such session');", '']),
  broken('revocation-unstored', 'a revocation that cannot be stored is answered with 204', ['EMIT-32/store-away'], ['http.js', 'await stored(store.revokeSession(request.params.id))', 'await store.revokeSession(request.params.id).catch(() => true)']),
  broken('session-unstored', 'a session that cannot be stored is answered with 204', ['EMIT-32/store-away'], ['http.js', 'await stored(store.putSession(', 'await Promise.resolve(store.putSession('], ['http.js', 'request.params.id, userId, endsAt));\n    notifications', 'request.params.id, userId, endsAt)).catch(() => {});\n    notifications']),
  broken('unstored-confirmed', 'an event that cannot be stored is answered with 202', ['EMIT-07/no-store'], ['notifications.js', 'events, this.#beyondCap(recipient, events));', 'events, this.#beyondCap(recipient, events)).catch(() => {});']),
  broken('always-live', 'every answer says live', ['EMIT-02/answer'], ['notifications.js', "answer(event, 'queued')", "answer(event, 'live')"]),
  broken('always-queued', 'every answer says queued', ['EMIT-02/answer'], ['notifications.js', "answer(event, 'live')", "answer(event, 'queued')"]),
  broken('polling-is-queued', 'an event for whoever polls is answered as queued', ['EMIT-02/answer-polled'], ['notifications.js', "answer(event, 'live')", "answer(event, devices.every((it) => it.conn.transport.name === 'polling') ? 'queued' : 'live')"]),
  broken('batch-answers-sorted', 'the answers of a batch are sorted', ['EMIT-03/batch'], ['notifications.js', '    return events.map((event) => answers.get(event));', '    return [...answers.values()];']),
  broken('another-id-answered', 'the answer has another eventId than the event', ['EMIT-02/answer'], ['notifications.js', '{ eventId: event.payload.eventId, delivery }', '{ eventId: uuidv7(), delivery }']),
  broken('status-200', 'events are answered with 200', ['EMIT-02/answer'], ['http.js', 'return reply.code(202).send(shape', 'return reply.code(200).send(shape']),
  broken('not-utf-8', 'a body that is not UTF-8 is accepted', ['EMIT-30/utf-8'], ['http.js', "new TextDecoder('utf-8', { fatal: true })", "new TextDecoder('utf-8')"]),
  broken('shallow', 'a body nested deeper than 20 levels is refused', ['EMIT-31/depth'], ['http.js', 'const DEPTH = 200;', 'const DEPTH = 20;']),
  broken('any-content-type', 'the Content-Type is not looked at', ['EMIT-12/content-type'], ['http.js', "addContentTypeParser('application/json',", "addContentTypeParser(['application/json', 'text/plain', 'application/x-www-form-urlencoded'],"]),
  broken('plain-errors', 'errors are application/json', ['EMIT-09/problems'], ['http.js', "type('application/problem+json')", "type('application/json')"]),
  broken('error-names-none', 'an error does not name the member', ['EMIT-08/refused'], ['http.js', 'must be a non-empty string`);\n  }', "must be a non-empty string`.replace(name, 'a member'));\n  }"]),
  broken('error-names-all', 'an error names all members', ['EMIT-08/refused'], ['http.js', 'must be a non-empty string`);\n  }', 'eventType, actorId and resourceId must be non-empty strings, and metadata an object`);\n  }']),
  broken('known-method-404', 'a known route with another method is answered with 404', ['EMIT-13/unknown'], ['http.js', 'known ? new Problem(405,', 'false ? new Problem(405,']),
  broken('empty-key', 'an empty Idempotency-Key is accepted', ['EMIT-15/key'], ['http.js', "if (given === '' || given?.length > 255)", 'if (given?.length > 255)']),
  broken('long-keys-refused', 'an Idempotency-Key over 64 letters is refused', ['EMIT-15/key'], ['http.js', 'given?.length > 255', 'given?.length > 64']),
  broken('compressed-read', 'Content-Encoding is not looked at', ['EMIT-17/content-encoding'], ['http.js', "if (encoding.split(',').some(", "if (encoding === '' && encoding.split(',').some("]),

  broken('trace-in-503', 'a 503 has a stack trace', ['AUTH-24/errors'], ['http.js', "    throw new Problem(503, 'the store does not answer');", '    throw new Problem(503, new Error().stack);']),
  broken('address-in-503', 'a 503 has the address of the store', ['AUTH-24/errors'], ['http.js', "  promise.catch(() => {\n    throw new Problem(503, 'the store does not answer');", "  promise.catch(() => {\n    throw new Problem(503, `no answer from redis://${process.env.REDIS_HOST}:${process.env.REDIS_PORT}`);"]),
  broken('credential-in-401', 'a 401 quotes the credential that was sent', ['AUTH-24/errors'], ['http.js', "throw new Problem(401, 'the service credential is missing or wrong');", 'throw new Problem(401, `wrong credential ${request.headers.authorization}`);']),
  broken('trace-in-400', 'a 400 has a stack trace', ['AUTH-24/errors'], ['http.js', document, 'detail: message, stack: status === 400 ? new Error().stack : undefined, ...members };']),
  broken('headers-logged', 'the headers of a refused request are logged', ['AUTH-24/log-of-errors'], errors('console.error(request.method, request.url, error.status, JSON.stringify(request.headers));')),
  broken('headers-logged-on-404', 'the headers of an unknown route are logged', ['AUTH-24/log-of-errors'], ['http.js', "    const path = request.url.split('?')[0];", "    console.warn(JSON.stringify(request.headers));\n    const path = request.url.split('?')[0];"]),
  broken('stacks-logged', 'errors are logged with their stack', ['AUTH-24/log-of-errors'], errors('console.error(error);')),
  broken('handshakes-logged', 'handshakes are logged', ['AUTH-24/log'], ['notifications.js', '    const { userId, sessionId, endsAt } = this.verify(findToken', '    console.log(JSON.stringify(socket.handshake));\n    const { userId, sessionId, endsAt } = this.verify(findToken']),
  broken('events-logged', 'events are logged', ['PRIV-01/log'], logs('JSON.stringify(drafts)')),
  broken('actors-logged', 'actors are logged', ['PRIV-01/log'], logs("drafts.map((it) => it.actorId).join(' ')")),
  broken('users-logged', 'who connects is logged', ['PRIV-01/log'], ['notifications.js', '    socket.join(room(userId));', '    console.log(`in: ${userId}`);\n    socket.join(room(userId));']),
  broken('session-users-logged', 'who has a session is logged', ['PRIV-01/log'], ['http.js', put, '    console.log(`session of ${userId}`);\n' + put]),
  broken('unknown-sessions-logged', 'who asks for a session that there is not is logged, with its id', ['PRIV-01/log'], ['server.js', 'watchPace(io.engine);', "watchPace(io.engine);\nio.engine.on('connection_error', ({ context }) => console.log('refused', context));"]),
  broken('bodies-logged', 'the bodies of refused requests are logged', ['PRIV-01/refused'], errors("console.error('refused', JSON.stringify(request.body));")),

  broken('always-ready', 'the server is ready whatever its store does', ['CONF-09/store-away'], ['http.js', '    await stored(store.ping());\n', '']),
  broken('never-healthy', 'where the store is away the process is not healthy', ['CONF-07/healthz'], ['http.js', "app.get('/healthz', () => ({ status: 'ok' }));", "app.get('/healthz', () => { throw new Problem(503, 'unwell'); });"]),
  broken('database-ignored', 'REDIS_DB is not looked at', ['CONF-06/redis'], ['config.js', "db: integer('REDIS_DB', 0, 0, 1_000_000),", 'db: 0,']),
  broken('cap-ignored', 'QUEUE_MAX_EVENTS is not looked at', ['CONF-05/queue-max'], ['config.js', "integer('QUEUE_MAX_EVENTS', 50, 1, 10_000)", '50']),
  broken('one-error', 'of the errors of the configuration the first is told', ['CONF-02/all-errors'], ['config.js', "throw new ConfigError(problems.join('\\n'));", 'throw new ConfigError(problems[0]);']),
  broken('starts-without-key', 'the server starts without a key', ['CONF-01/no-secret'], ['config.js', 'if (!secret) problems.push(`JWT_SECRET must be set for ${algorithm}`);\n    return { algorithm, key: secret };', "return { algorithm, key: secret ?? 'secret' };"]),
  broken('no-hs512', 'HS512 is not possible', ['CONF-04/algorithms'], ['config.js', "['HS256', 'HS384', 'HS512']", "['HS256', 'HS384']"]),
];
