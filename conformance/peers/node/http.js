// The control surface: events, sessions and health over HTTP (SPEC 6 and 8).

import { createHash, timingSafeEqual } from 'node:crypto';

import Fastify from 'fastify';

import { EVENT_TYPES } from './notifications.js';
import { corsHeaders, preflight } from './origins.js';

const EVENT_BYTES = 64 * 1024;
const BATCH_BYTES = 4 * 1024 * 1024;
const BATCH_EVENTS = 1_000;
const DRAIN_MS = 5_000;
const EVENT_MEMBERS = new Set(['eventType', 'actorId', 'resourceId', 'metadata']);
const SESSION_MEMBERS = new Set(['userId', 'expiresAt']);
const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;
/** Refuses what is not UTF-8 (EMIT-30). */
const UTF_8 = new TextDecoder('utf-8', { fatal: true });
const TITLES = {
  400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found', 405: 'Method Not Allowed',
  413: 'Content Too Large', 415: 'Unsupported Media Type', 422: 'Unprocessable Content', 500: 'Internal Server Error', 503: 'Service Unavailable',
};

/** How deep a body may be nested: what reads and writes JSON calls itself for each level. */
const DEPTH = 200;

/** How long to wait before the store is told again what became of a request. */
const RETRY_MS = 1_000;

/** An answer that is a problem document (EMIT-09), with further members. */
class Problem extends Error {
  constructor(status, detail, members = {}) {
    super(detail);
    this.status = status;
    this.members = members;
  }
}

const bad = (detail) => {
  throw new Problem(400, detail);
};

/** A Fastify server with every route. `notifications` and `store` are used once requests come in. */
export function buildHttp(config, store, notifications) {
  const app = Fastify({
    bodyLimit: EVENT_BYTES,
    routerOptions: { maxParamLength: 4_096 },
    // What is wrong before there is a route, and comes by no hook.
    frameworkErrors: (error, request, reply) => problem(reply.headers(corsHeaders(config.origins, request.headers) ?? {}), asProblem(error)),
  });
  app.removeAllContentTypeParsers();
  app.decorateRequest('rawBody', '');
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    request.rawBody = body;
    let parsed;
    try {
      parsed = JSON.parse(UTF_8.decode(body));
    } catch {
      return done(new Problem(400, 'the body is not JSON'));
    }
    const tooDeep = isDeeper(parsed, DEPTH);
    done(tooDeep ? new Problem(400, `the body is nested deeper than ${DEPTH} levels`) : null, parsed);
  });
  app.setErrorHandler(async (error, request, reply) => {
    await drained(request.raw);
    return problem(reply, asProblem(error));
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0];
    const known = ROUTES.some((route) => route.test(path));
    problem(reply, known ? new Problem(405, `${request.method} is not for this route`) : new Problem(404, 'there is no such route'));
  });
  app.addHook('onRequest', async (request, reply) => {
    const headers = corsHeaders(config.origins, request.headers);
    if (headers) reply.headers(headers);
    if (headers && request.method === 'OPTIONS' && request.headers['access-control-request-method']) {
      return reply.code(204).headers(preflight(request.headers)).send();
    }
  });
  app.addHook('onRequest', async (request, reply) => {
    const encoding = request.headers['content-encoding'] ?? 'identity';
    if (encoding.split(',').some((coding) => !['', 'identity'].includes(coding.trim().toLowerCase()))) {
      reply.header('accept-encoding', 'identity');
      throw new Problem(415, 'the body has to be sent as it is');
    }
  });
  controlRoutes(app, config, store, notifications);
  healthRoutes(app, store);
  return app;
}

const ROUTES = [/^\/events(\/batch)?$/, /^\/sessions\/[^/]+$/, /^\/(healthz|readyz)$/];

function controlRoutes(app, config, store, notifications) {
  const guard = credentialGuard(config.ingestToken);
  const emit = emitOnce(store, notifications);
  app.post('/events', { onRequest: guard }, (request, reply) => {
    checkEvent(request.body, '');
    return emit(request, reply, [request.body], ([receipt]) => receipt);
  });
  app.post('/events/batch', { onRequest: guard, bodyLimit: BATCH_BYTES }, (request, reply) => {
    const events = request.body;
    if (!Array.isArray(events)) bad('a batch is an array of events');
    if (events.length < 1 || events.length > BATCH_EVENTS) bad(`a batch has 1 to ${BATCH_EVENTS} events`);
    events.forEach((event, at) => checkEvent(event, `[${at}].`));
    return emit(request, reply, events, (receipts) => receipts);
  });
  app.put('/sessions/:id', { onRequest: guard }, async (request, reply) => {
    const { userId, expiresAt } = checkSession(request.body);
    const endsAt = expiresAt && Date.parse(expiresAt);
    await stored(store.putSession(request.params.id, userId, endsAt));
    notifications.sessionChanged(request.params.id, userId, endsAt);
    return reply.code(204).send();
  });
  app.delete('/sessions/:id', { onRequest: guard }, async (request, reply) => {
    const wasThere = await stored(store.revokeSession(request.params.id));
    notifications.sessionChanged(request.params.id);
    if (!wasThere) throw new Problem(404, 'there is no such session');
    return reply.code(204).send();
  });
}

function healthRoutes(app, store) {
  app.get('/healthz', () => ({ status: 'ok' }));
  app.get('/readyz', async () => {
    await stored(store.ping());
    return { status: 'ready' };
  });
}

/** What the store could not do is told as 503, and not why. */
const stored = (promise) =>
  promise.catch(() => {
    throw new Problem(503, 'the store does not answer');
  });

/** EMIT-01, in a time that does not depend on how much of the credential is right. */
function credentialGuard(credential) {
  const digest = (text) => createHash('sha256').update(text).digest();
  const expected = digest(`Bearer ${credential}`);
  return async (request) => {
    if (!timingSafeEqual(digest(request.headers.authorization ?? ''), expected)) {
      throw new Problem(401, 'the service credential is missing or wrong');
    }
  };
}

/**
 * Emits and answers 202, or 503 with what was accepted (EMIT-22). With an Idempotency-Key it is emitted once (EMIT-06, EMIT-18), in several
 * requests where the store fails (EMIT-23), and another body is refused (EMIT-19).
 */
function emitOnce(store, notifications) {
  const inHand = new Map();
  const untold = new Map();

  async function tell(key) {
    const used = untold.get(key);
    try {
      await store.keepUsed(key, used);
      if (untold.get(key) === used) untold.delete(key);
    } catch {
      setTimeout(() => untold.has(key) && tell(key), RETRY_MS).unref();
    }
  }

  async function once(key, body, events) {
    const known = untold.get(key) ?? (await stored(store.used(key)));
    if (known?.done || (known && known.body !== body)) return known;
    const used = { body, ...(await emitRest(notifications, events, known?.accepted ?? [])) };
    if (used.accepted.length > 0) {
      untold.set(key, used);
      await tell(key);
    }
    return used;
  }

  return async (request, reply, events, shape) => {
    const given = request.headers['idempotency-key'];
    if (given === '' || given?.length > 255) bad('Idempotency-Key has 1 to 255 characters');
    const body = createHash('sha256').update(request.rawBody).digest('hex');
    const key = `${request.routeOptions.url} ${given}`;
    let used = given !== undefined && inHand.get(key);
    if (!used) {
      used = given === undefined ? emitRest(notifications, events, []) : once(key, body, events).finally(() => inHand.delete(key));
      if (given !== undefined) inHand.set(key, used);
    }
    const { body: firstBody = body, done, accepted } = await used;
    if (firstBody !== body && accepted.length > 0) throw new Problem(422, 'this Idempotency-Key was used with another body');
    if (!done) throw new Problem(503, 'the store does not answer', { accepted });
    return reply.code(202).send(shape(accepted.map(({ eventId, delivery }) => ({ eventId, delivery }))));
  };
}

/** Emits what of a batch was not accepted before; tells what is by now, by its place, and whether that is all. */
async function emitRest(notifications, events, before) {
  const accepted = new Map(before.map((receipt) => [receipt.index, receipt]));
  const rest = [...events.keys()].filter((index) => !accepted.has(index));
  const receipts = await notifications.emit(rest.map((index) => events[index]));
  receipts.forEach((receipt, at) => receipt && accepted.set(rest[at], { index: rest[at], ...receipt }));
  const all = [...accepted.values()].sort((a, b) => a.index - b.index);
  return { accepted: all, done: all.length === events.length };
}

function isDeeper(value, levels) {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1));
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

function checkMembers(body, members, where) {
  if (!isObject(body)) bad(`${where || 'the body'} is not an object`);
  const unknown = Object.keys(body).find((name) => !members.has(name));
  if (unknown !== undefined) bad(`${where}${unknown} is not a known member`);
}

function checkEvent(event, where) {
  checkMembers(event, EVENT_MEMBERS, where);
  for (const name of ['eventType', 'actorId', 'resourceId']) {
    if (typeof event[name] !== 'string' || event[name] === '') bad(`${where}${name} must be a non-empty string`);
  }
  if (!EVENT_TYPES.has(event.eventType)) bad(`${where}eventType must be one of ${[...EVENT_TYPES].join(', ')}`);
  if (event.metadata !== undefined && !isObject(event.metadata)) bad(`${where}metadata must be an object`);
}

function checkSession(session) {
  checkMembers(session, SESSION_MEMBERS, '');
  const { userId, expiresAt } = session;
  if (typeof userId !== 'string' || userId === '') bad('userId must be a non-empty string');
  const isTime = expiresAt === undefined || (typeof expiresAt === 'string' && RFC_3339.test(expiresAt) && !Number.isNaN(Date.parse(expiresAt)));
  if (!isTime) bad('expiresAt must be a time in RFC 3339');
  return session;
}

function asProblem(error) {
  if (error instanceof Problem) return error;
  if (error.statusCode === 413) return new Problem(413, 'the body is too large');
  if (error.statusCode === 415) return new Problem(415, 'the Content-Type must be application/json');
  if (error.statusCode >= 400 && error.statusCode < 500) return new Problem(error.statusCode, 'the request cannot be read');
  return new Problem(500, 'the server has made a mistake');
}

/** Reads what is still on its way for a while, so that the sender sees the answer rather than a reset (EMIT-11). */
function drained(stream) {
  if (stream.complete) return undefined;
  return new Promise((resolve) => {
    stream.once('close', resolve).once('end', resolve).resume();
    setTimeout(resolve, DRAIN_MS).unref();
  });
}

function problem(reply, { status, message, members }) {
  const document = { type: 'about:blank', title: TITLES[status] ?? 'Error', status, detail: message, ...members };
  return reply.code(status).type('application/problem+json').send(JSON.stringify(document));
}
