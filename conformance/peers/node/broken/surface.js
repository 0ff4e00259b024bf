// What a team overlooks at the surface: in what it keeps, logs and compares, and in the corners of HTTP (SPEC 5 to 8 and 19).

import { broken } from './entry.js';

const N = 'notifications.js';
const H = 'http.js';
const S = 'store.js';
const O = 'origins.js';
const payload = 'payload: { eventType, actorId, resourceId, timestamp: new Date().toISOString(), metadata, eventId: uuidv7() },';
const read = '      parsed = JSON.parse(UTF_8.decode(body));';
const encoding = "  app.addHook('onRequest', async (request, reply) => {\n    const encoding";
const onRequest = (statement) => [H, encoding, `  app.addHook('onRequest', async (request) => {\n    ${statement}\n  });\n${encoding}`];
const route = 'routerOptions: { maxParamLength';
const time = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/.source;
const stores = '      await this.store.append(recipient, events, this.#beyondCap(recipient, events));';
const hasTexts = '    events.forEach((event, at) => (event.text = texts[at]));';
const owned = "if (owner !== userId || stay.isOver) throw new Refusal('session_invalid');";
const cors = '    if (headers) reply.headers(headers);';
const answer = "return reply.code(status).type('application/problem+json').send(JSON.stringify(document));";

export const surface = [
  // What is promised to nobody, or to somebody else.
  broken('closed-before-revoked', 'a revocation that cannot be stored closes the connections', ['EMIT-32/store-away'], [H, '    const wasThere = await stored(store.revokeSession(request.params.id));\n    notifications.sessionChanged(request.params.id);', '    notifications.sessionChanged(request.params.id);\n    const wasThere = await stored(store.revokeSession(request.params.id));']),
  broken('closed-before-replaced', 'a replacement that cannot be stored closes the connections', ['EMIT-32/store-away'], [H, '    await stored(store.putSession(request.params.id, userId, endsAt));\n    notifications.sessionChanged(request.params.id, userId, endsAt);', '    notifications.sessionChanged(request.params.id, userId, endsAt);\n    await stored(store.putSession(request.params.id, userId, endsAt));']),
  broken('joined-by-another-body', 'another body that comes while the key is in hand gets the first answer', ['EMIT-19/at-once'], [H, '    if (!used) {', '    const joined = Boolean(used);\n    if (!used) {'], [H, 'if (firstBody !== body && accepted.length > 0)', 'if (!joined && firstBody !== body && accepted.length > 0)']),
  broken('completed-by-another-body', 'what was accepted in part is completed by another body', ['EMIT-23/rest'], [H, '(known && known.body !== body)', '(known?.done && known.body !== body)']),
  broken('plain-devices-first', 'a plain device has it though it cannot be stored', ['ACK-14/no-store'], [N, stores, `${stores.slice(0, -1)}.catch((error) => {\n        const plain = this.#connected(recipient).filter((it) => !it.data.outbox.acknowledges);\n        for (const device of plain) for (const event of events) device.emit(event.payload.eventType, event.payload);\n        throw error;\n      });`]),
  broken('guarded-by-path', 'routes count in any case, and are guarded by their path', ['EMIT-01/elsewhere'], [H, route, 'routerOptions: { caseSensitive: false, maxParamLength'], [H, '  return async (request) => {', '  return async (request) => {\n    if (!/^\\/(events|sessions)/.test(request.url)) return;']),

  // What is kept.
  broken('used-keeps-events', 'what is kept for an Idempotency-Key has the events', ['QUEUE-31/gone'], [H, 'const used = { body, ...', 'const used = { body, events, ...']),
  broken('read-and-kept-for-ever', 'a queue that was read never expires', ['QUEUE-31/gone'], [S, '    const all = this.events(texts);', '    const all = this.events(texts);\n    if (all.length > 0) await this.redis.persist(queue);'], [S, 'const SWEEP_MS = 30_000;', 'const SWEEP_MS = 86_400_000;']),
  broken('json-is-an-event', 'an entry that is JSON and no event costs all', ['QUEUE-15/corrupt'], [S, '        const event = { text, payload: JSON.parse(text.slice(text.indexOf(\' \'))) };\n        return timeOf(event) > oldest ? [event] : [];\n      } catch {\n        return [];\n      }', "        JSON.parse(text.slice(text.indexOf(' ')));\n      } catch {\n        return [];\n      }\n      const event = { text, payload: JSON.parse(text.slice(text.indexOf(' '))) };\n      return timeOf(event) > oldest ? [event] : [];"]),
  broken('members-not-checked', 'an entry that lacks a member costs all', ['QUEUE-15/corrupt'], [N, '    const payloads = entries.map(({ payload }) => payload);', '    const payloads = entries.map(({ payload }) => payload);\n    for (const { metadata } of payloads) Object.keys(metadata);']),
  broken('queued-to-the-second', 'the timestamps of a queued batch are cut to seconds', ['QUEUE-16/batch'], [S, '    const now = Date.now();', "    const now = Date.now();\n    if (events.length > 1) for (const { payload } of events) payload.timestamp = payload.timestamp.replace(/\\.\\d+Z/, '.000Z');"]),

  // What is logged.
  broken('full-queues-logged', 'whose queue is full is logged', ['PRIV-01/trouble'], [S, hasTexts, `${hasTexts}\n    if ((await this.redis.zcard(\`queue:\${userId}\`)) >= maxEvents) console.warn(\`queue of \${userId} is full\`);`]),
  broken('refused-refreshes-logged', 'a refused auth.refresh is logged with its user', ['PRIV-01/trouble'], [N, '(({ message }) => ({ ok: false, code: message }))', "(({ message }) => {\n        console.warn('refresh refused', message, socket.data.userId);\n        return { ok: false, code: message };\n      })"]),
  broken('refused-sessions-logged', 'a CONNECT that is refused for its session is logged with its user', ['PRIV-01/trouble'], [N, owned, `if (owner !== userId) console.warn(\`no session of \${userId}\`);\n      ${owned}`]),
  broken('slow-clients-logged', 'who is behind is logged with the id of the connection', ['PRIV-01/trouble'], ['outbox.js', '    this.hasMissed = true;', '    if (!this.hasMissed && events.length > 0) console.warn(`connection ${this.conn.id} is slow`);\n    this.hasMissed = true;']),
  broken('damage-logged', 'a damaged entry is logged', ['PRIV-01/trouble'], [S, '      } catch {\n        return [];\n      }', "      } catch {\n        console.error('damaged', text);\n        return [];\n      }"]),
  broken('unacknowledged-logged', 'what is not acknowledged in time is logged', ['PRIV-01/trouble'], ['outbox.js', 'parcel.timer = setTimeout(() => this.conn.close(true),', "parcel.timer = setTimeout(() => console.warn('not acknowledged', parcel.events.map(({ payload }) => payload.resourceId).join(' ')) ?? this.conn.close(true),"]),
  broken('unstored-logged', 'what cannot be stored is logged with its recipient', ['PRIV-01/refused'], [N, stores, `${stores.slice(0, -1)}.catch((error) => {\n        console.error(\`not stored for \${recipient}\`);\n        throw error;\n      });`]),

  // What an event may hold.
  broken('prototypes-refused', 'a body with constructor and prototype in it is refused', ['EVENT-06/live', 'EVENT-06/queued-batch'], [H, read, `${read}\n      JSON.parse(UTF_8.decode(body), (name, it) => {\n        if (name === 'constructor' && Object.hasOwn(Object(it), 'prototype')) throw new Error();\n        return it;\n      });`]),
  broken('dates-revived', 'texts that are times are written anew', ['EVENT-06/live', 'EVENT-06/queued'], [N, payload, payload.replace('metadata,', () => "metadata: JSON.parse(JSON.stringify(metadata), (_, it) => (typeof it === 'string' && /^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d/.test(it) && !Number.isNaN(Date.parse(it)) ? new Date(it).toISOString() : it)),")]),
  broken('replacement-refused', 'a body with U+FFFD in it is refused', ['EVENT-06/live', 'EVENT-06/queued-batch'], [H, read, "      const text = body.toString();\n      if (text.includes('\\ufffd')) throw new Error();\n      parsed = JSON.parse(text);"]),
  broken('blank-names-nobody', 'a targetUserId of white space names nobody', ['EVENT-09/blank'], [N, "targetUserId !== '' ?", "targetUserId.trim() !== '' ?"]),

  // HTTP.
  broken('times-in-capitals', 'expiresAt has to have T and Z in capitals', ['EMIT-05/sessions'], [H, time, time.replace('[Tt]', 'T').replace('[Zz]', 'Z')]),
  broken('times-to-the-millisecond', 'expiresAt has three digits of a second at the most', ['EMIT-05/sessions'], [H, time, time.replace('\\.\\d+', '\\.\\d{1,3}')]),
  broken('no-end-is-null', 'expiresAt may be null', ['EMIT-05/sessions'], [H, 'const isTime = expiresAt === undefined ||', 'const isTime = expiresAt === undefined || expiresAt === null ||'], [H, 'const endsAt = expiresAt && Date.parse(expiresAt);', 'const endsAt = expiresAt ? Date.parse(expiresAt) : undefined;']),
  broken('end-in-an-array', 'expiresAt may be a list with one time', ['EMIT-05/sessions'], [H, "typeof expiresAt === 'string' && RFC", 'RFC']),
  broken('large-batches-refused', 'a batch of 4 MiB is too large', ['EMIT-11/too-large'], [H, 'const BATCH_BYTES = 4 * 1024 * 1024;', 'const BATCH_BYTES = 4 * 1024 * 1024 - 1;']),
  broken('length-by-header', 'only Content-Length is held against the limit', ['EMIT-11/too-large'], [H, 'bodyLimit: EVENT_BYTES,', 'bodyLimit: BATCH_BYTES,'], onRequest("if (Number(request.headers['content-length']) > EVENT_BYTES && request.url !== '/events/batch') throw new Problem(413, 'the body is too large');")),
  broken('length-required', 'a body without a Content-Length is refused', ['EMIT-11/too-large'], onRequest("if (request.headers['transfer-encoding']) throw new Problem(411, 'a Content-Length is needed');")),
  broken('identity-in-lower-case', 'Content-Encoding: Identity is refused', ['EMIT-17/content-encoding'], [H, 'coding.trim().toLowerCase()', 'coding.trim()']),
  broken('unready-without-problem', 'the 503 of /readyz is no problem document', ['CONF-09/store-away'], [H, "  app.get('/readyz', async () => {\n    await stored(store.ping());", "  app.get('/readyz', async (_request, reply) => {\n    if (!(await store.ping().catch(() => false))) return reply.code(503).send({ status: 'not ready' });"]),
  broken('everywhere', 'HOST is not looked at', ['CONF-14/host'], ['server.js', 'app.listen({ host: config.host,', "app.listen({ host: '0.0.0.0',"]),

  // Origins.
  broken('errors-without-cors', 'errors have no CORS headers', ['ORIGIN-01/control'], [H, answer, `reply.removeHeader('access-control-allow-origin');\n  reply.removeHeader('access-control-allow-credentials');\n  ${answer}`]),
  broken('health-without-cors', 'health has no CORS headers', ['ORIGIN-01/control'], [H, cors, "    if (headers && !/^\\/(healthz|readyz)/.test(request.url)) reply.headers(headers);"]),
  broken('own-origin-not-on-control', 'the own origin has no CORS headers from the control surface', ['ORIGIN-01/control'], [O, '  if (origin === undefined || !isAllowed(origins, headers)) return undefined;', '  if (origin === undefined || !origins.has(normalOrigin(origin))) return undefined;']),
  broken('origins-as-texts', 'an origin is compared as a text', ['ORIGIN-01/listed'], [O, 'origins.has(normalOrigin(origin))', 'origins.has(origin)']),
  broken('listed-as-written', 'a listed origin counts as it is written', ['ORIGIN-01/listed-otherwise'], ['config.js', '  return new Set(normal);', '  return new Set(listed);']),
  broken('wildcard-with-credentials-on-control', 'with * the control surface allows credentials', ['ORIGIN-03/no-wildcard'], [O, "return { 'access-control-allow-origin': '*' };", "return { 'access-control-allow-origin': '*', 'access-control-allow-credentials': 'true' };"]),
];
