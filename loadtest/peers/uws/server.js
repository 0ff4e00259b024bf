// The least that socket.io on uWebSockets.js needs to be set against the reference in a load run: tokens, sessions in memory, a
// room for each user, the routes that emit. Promises nothing to who is away: there is no queue.

import { randomUUID, timingSafeEqual } from 'node:crypto';
import { createRequire } from 'node:module';

import jwt from 'jsonwebtoken';
import { Server } from 'socket.io';

const NAMESPACE = '/notifications';
const EVENT_TYPES = new Set(['record.accessed', 'access.granted', 'access.revoked', 'record.uploaded']);
const BODY_BYTES = 4 * 1024 * 1024;
const STATUS = { 200: '200 OK', 202: '202 Accepted', 204: '204 No Content', 400: '400 Bad Request', 401: '401 Unauthorized', 413: '413 Content Too Large', 503: '503 Service Unavailable' };

const { HOST = '127.0.0.1', PORT, JWT_SECRET, INGEST_TOKEN } = process.env;
const missing = Object.entries({ PORT, JWT_SECRET, INGEST_TOKEN }).filter(([, value]) => !value).map(([name]) => name);
if (missing.length > 0) {
  console.error(`${missing.join(', ')} must be set`);
  process.exit(2);
}

/** The library itself, and never its imitation in JavaScript, which the package falls back to with a line on the console. */
function loadUws() {
  const binary = `uws_${process.platform}_${process.arch}_${process.versions.modules}.node`;
  try {
    return createRequire(import.meta.url)(`@trufflesuite/uws-js-unofficial/binaries/${binary}`);
  } catch (error) {
    console.error(`uWebSockets.js does not run on Node ${process.version} here (${binary}); it takes Node 20: ${error.message}`);
    process.exit(2);
  }
}

/** Session id → `{userId, expiresAt}` in milliseconds; without an end `Infinity`. */
const sessions = new Map();
const app = loadUws().App();
const io = new Server({ serveClient: false });
io.attachApp(app);
const namespace = io.of(NAMESPACE);

namespace.use((socket, next) => {
  const code = refusal(socket);
  next(code && new Error(code));
});
namespace.on('connection', (socket) => socket.join(socket.data.userId));

/** Why the client is not let in; notes whose it is otherwise. */
function refusal(socket) {
  const { token } = socket.handshake.auth;
  if (typeof token !== 'string') return 'token_missing';
  let claims;
  try {
    claims = jwt.verify(token, JWT_SECRET, { algorithms: ['HS256'] });
  } catch (error) {
    return error.name === 'TokenExpiredError' ? 'token_expired' : 'token_invalid';
  }
  const session = sessions.get(claims.sessionId);
  if (session?.userId !== claims.userId || session.expiresAt <= Date.now()) return 'session_invalid';
  socket.data.userId = claims.userId;
  return undefined;
}

/** What is answered for an event, or `undefined` where nobody is there to get it. */
function emit({ eventType, actorId, resourceId, metadata = {} }) {
  const userId = metadata.targetUserId ?? resourceId;
  if (!namespace.adapter.rooms.has(userId)) return undefined;
  const eventId = randomUUID();
  const timestamp = new Date().toISOString();
  namespace.to(userId).emit(eventType, { eventType, actorId, resourceId, timestamp, metadata, eventId });
  return { eventId, delivery: 'live' };
}

const isEvent = (event) =>
  EVENT_TYPES.has(event?.eventType) && typeof event.actorId === 'string' && typeof event.resourceId === 'string';

function emitAll(events) {
  if (!Array.isArray(events) || !events.every(isEvent)) return [400];
  const answers = events.map(emit);
  const accepted = answers.flatMap((answer, index) => (answer ? [{ index, ...answer }] : []));
  return accepted.length === answers.length ? [202, answers] : [503, { accepted }];
}

function emitOne(event) {
  if (!isEvent(event)) return [400];
  const answer = emit(event);
  return answer ? [202, answer] : [503];
}

function makeSession(body, sessionId) {
  const expiresAt = body?.expiresAt === undefined ? Infinity : Date.parse(body.expiresAt);
  if (typeof body?.userId !== 'string' || Number.isNaN(expiresAt)) return [400];
  sessions.set(sessionId, { userId: body.userId, expiresAt });
  return [204];
}

const expected = Buffer.from(`Bearer ${INGEST_TOKEN}`);
function mayEmit(request) {
  const given = Buffer.from(request.getHeader('authorization'));
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function answer(response, [status, body]) {
  response.cork(() => {
    response.writeStatus(STATUS[status]);
    if (body !== undefined) response.writeHeader('content-type', 'application/json');
    if (status === 204) response.endWithoutBody();
    else response.end(body === undefined ? '' : JSON.stringify(body));
  });
}

/** A route whose JSON body goes to `act`; what that returns is the answer. */
const withBody = (act) => (response, request) => {
  const parameter = decodeURIComponent(request.getParameter(0) ?? '');
  const allowed = mayEmit(request);
  let gone = false;
  response.onAborted(() => { gone = true; });
  if (!allowed) return answer(response, [401]);
  const chunks = [];
  let length = 0;
  response.onData((chunk, isLast) => {
    // The memory of a chunk is the library's again after this.
    if (length <= BODY_BYTES) chunks.push(Buffer.from(new Uint8Array(chunk)));
    length += chunk.byteLength;
    if (!isLast || gone) return;
    if (length > BODY_BYTES) return answer(response, [413]);
    let body;
    try {
      body = JSON.parse(Buffer.concat(chunks));
    } catch {
      return answer(response, [400]);
    }
    answer(response, act(body, parameter));
  });
};

app.post('/events', withBody(emitOne));
app.post('/events/batch', withBody(emitAll));
app.put('/sessions/:id', withBody(makeSession));
app.del('/sessions/:id', (response, request) => {
  const sessionId = decodeURIComponent(request.getParameter(0));
  if (!mayEmit(request)) return answer(response, [401]);
  sessions.delete(sessionId);
  answer(response, [204]);
});
app.get('/healthz', (response) => answer(response, [200]));
app.get('/readyz', (response) => answer(response, [200]));

app.listen(HOST, Number(PORT), (listening) => {
  if (!listening) {
    console.error(`${HOST}:${PORT} cannot be listened on`);
    process.exit(1);
  }
});
