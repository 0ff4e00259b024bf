// Right, though it is done in another way than the peer and the reference do it.

import { broken, unusual } from './entry.js';

const welcome = '    socket.join(room(userId));';
const append = '    await this.redis.appendEvents(';
const aged = "\n  if newest then redis.call('PEXPIREAT', KEYS[1], newest + ARGV[3]) end";
const payload = 'timestamp: new Date().toISOString()';

export const right = [
  unusual('strict-bodies', 'a body with GET or DELETE is refused before anything is looked at', ['EMIT-01/credential', 'EMIT-05/sessions', 'EMIT-09/problems', 'EMIT-13/unknown', 'EMIT-05/odd-ids'],
    ['http.js', '  app.addHook(\'onRequest\', async (request, reply) => {\n    const encoding', "  app.addHook('onRequest', async ({ method, headers }) => {\n    if (['GET', 'DELETE'].includes(method) && (headers['content-type'] || Number(headers['content-length']) > 0)) throw new Problem(400, 'no body');\n  });\n  app.addHook('onRequest', async (request, reply) => {\n    const encoding"]),
  unusual('audience-checked', 'tokens that name an issuer, an audience or a key that are not configured are refused', ['AUTH-01/accepted', 'AUTH-05/polled', 'AUTH-08/expired'],
    ['auth.js', "  if (type === 'refresh' ||", "  if (claims.iss !== undefined || claims.aud !== undefined || exp > 2e11) refuse('token_invalid');\n  if (type === 'refresh' ||"], ['auth.js', "if ('crit' in headerOf(token))", "if ('crit' in headerOf(token) || 'kid' in headerOf(token))"]),
  unusual('queue-with-index', 'beside the queues stands an index of them that never expires', ['QUEUE-06/default-ttl', 'QUEUE-31/gone', 'QUEUE-15/corrupt'],
    ['store.js', append, '    await this.redis.sadd(\'index\', userId);\n    await this.redis.incr(\'count\');\n' + append]),
  unusual('bodies-beside-ids', 'a queue is a list of ids, and the events stand in a hash', ['QUEUE-15/corrupt', 'QUEUE-06/default-ttl', 'QUEUE-31/gone', 'QUEUE-03/far-over', 'EVENT-06/queued'],
    ['store.js', append, '    await this.redis.hset(`bodies:${userId}`, ...events.flatMap(({ payload }) => [payload.eventId, JSON.stringify(payload)]));\n    await this.redis.pexpire(`bodies:${userId}`, ttlMs);\n' + append],
    ['store.js', '`${payload.eventId} ${JSON.stringify(payload)}`', '`${payload.eventId} `'],
    ['store.js', '    const all = this.events(texts);', '    const bodies = texts.length > 0 ? await this.redis.hmget(`bodies:${userId}`, ...texts.map((it) => it.split(\' \')[0])) : [];\n    const all = this.events(texts.map((it, at) => it + (bodies[at] ?? \'\'))).map((it) => ({ ...it, text: `${it.payload.eventId} ` }));']),
  broken('greets', 'a client is greeted by an event of its own', ['QUEUE-12/nothing', 'QUEUE-12/nothing-polled'], ['notifications.js', welcome, `${welcome}\n    socket.emit('connected', { userId });`]).but([
    'EVENT-06/live', 'EVENT-06/live-polled', 'EVENT-06/queued', 'QUEUE-01/reconnect', 'QUEUE-03/exactly-50', 'ROOM-06/many-devices', 'EMIT-02/answer', 'EMIT-03/thousand-live', 'AUTH-01/accepted', 'AUTH-01/library', 'TRANS-04/upgrade', 'EVENT-11/ping']),
  unusual('throttled', 'of many requests at once some are answered with 429', ['QUEUE-05/concurrent', 'EMIT-10/garbage', 'QUEUE-14/restart'],
    ['http.js', '  controlRoutes(app, config, store, notifications);\n  healthRoutes', "  let inHand = 0;\n  app.addHook('onRequest', async (_request, reply) => {\n    if (inHand >= 5) {\n      reply.header('retry-after', '1');\n      throw new Problem(429, 'too many requests');\n    }\n    inHand += 1;\n    reply.raw.once('close', () => (inHand -= 1));\n  });\n  controlRoutes(app, config, store, notifications);\n  healthRoutes"]),
  unusual('choosy-about-users', 'no user has an id with control characters, or a long one', ['ROOM-05/look-alikes', 'ROOM-05/look-alikes-queued', 'ROOM-05/look-alikes-targeted'],
    ['http.js', "  if (typeof userId !== 'string' || userId === '')", "  if (typeof userId !== 'string' || userId === '' || userId.length > 128 || /[\\x00-\\x1f\\x7f]/.test(userId))"]),
  unusual('clock-ahead', 'the clock of the server is four seconds ahead', ['EVENT-04/timestamp', 'EVENT-04/goes-on', 'QUEUE-16/same-payload', 'EVENT-06/live'], ['notifications.js', payload, 'timestamp: new Date(Date.now() + 4_000).toISOString()']),
  unusual('leeway-of-5', 'tokens are accepted for 5 s after their exp, and before their nbf', ['AUTH-08/expired', 'AUTH-09/nbf'], ['auth.js', 'const LEEWAY_SECONDS = 3;', 'const LEEWAY_SECONDS = 5;']),
  unusual('origins-in-capitals', 'the host of an origin is compared without its case', ['ORIGIN-01/listed', 'ORIGIN-02/unlisted'], ['origins.js', 'origins.has(normalOrigin(origin))', 'origins.has(normalOrigin(origin.toLowerCase()))']),
  unusual('swept', 'a queue has no time to live of its own: what is too old is swept away', ['QUEUE-31/gone'], ['store.js', aged, '']),
];
