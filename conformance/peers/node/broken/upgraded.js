// What a team overlooks on connections that are not the first that come to mind: upgraded ones, polling ones, those that acknowledge.

import { broken } from './entry.js';

const N = 'notifications.js';
const O = 'outbox.js';
const V = 'server.js';
const overdue = '    if (left <= 0) conn.close(true);';
const revoked = '      if (isIn && stay.isOver) stay.socket.conn.close(true);';
const encoding = "  app.addHook('onRequest', async (request, reply) => {\n    const encoding";
const timed = '    if (this.#owed.has(parcel)) parcel';
const guarded = 'guardSockets(app.server, io, config.origins);\nwatch';
const engine = (statement) => [V, guarded, guarded.replace('\n', () => `\nio.engine.on('connection', (it) => { ${statement} });\n`)];
const letIn = '    socket.join(room(userId));';
const patient = [V, '  connectTimeout: CONNECT_TIMEOUT_MS,', '  connectTimeout: 86_400_000,'];
const closedUnless = (stays) => engine(`setTimeout(() => { if (!it.isIn && !it.${stays}) it.close(); }, CONNECT_TIMEOUT_MS);`);
const marksIn = [N, letIn, `${letIn}\n    socket.conn.isIn = true;`];

// And what stands where nobody looks for it.
export const upgraded = [
  broken('overtaken-unseen', 'a CONNECT does not see a revocation that overtakes it', ['REVOKE-05/while-connecting'], [N, 'if (owner !== userId || stay.isOver) throw', 'if (owner !== userId) throw']),
  broken('token-in-an-array', 'an array with one token is a token', ['AUTH-25/wrong-types'], ['auth.js', "  if (typeof token !== 'string') refuse('token_invalid');", '  token = String(token);']),
  broken('token-in-an-object', 'an object with a token is a token', ['AUTH-25/wrong-types'], ['auth.js', "  if (typeof token !== 'string') refuse('token_invalid');", "  token = token?.token ?? token;\n  if (typeof token !== 'string') refuse('token_invalid');"]),
  broken('settings-by-number', 'a setting may be whatever Number takes', ['HEART-04/wrong'], ['config.js', "    const value = /^\\d{1,15}$/.test(given) ? Number(given) : NaN;", '    const value = Number.isInteger(Number(given)) ? Number(given) : NaN;']),
  broken('media-type-in-lower-case', 'the name of a media type has to be in lower case', ['EMIT-12/content-type'], ['http.js', encoding, `  app.addHook('onRequest', async (request) => {\n    if (/[A-Z]/.test((request.headers['content-type'] ?? '').split(';')[0])) throw new Problem(415, 'the Content-Type must be application/json');\n  });\n${encoding}`]),
  broken('upgraded-unrevoked', 'a connection that was upgraded stays when its session is revoked', ['REVOKE-01/upgraded'], [N, revoked, revoked.replace('stay.socket.conn.', 'stay.socket.conn.upgraded || stay.socket.conn.')]),
  broken('upgraded-outlives', 'a connection that was upgraded stays when its token has ended', ['EXPIRY-01/upgraded'], [N, overdue, overdue.replace('conn.close', 'conn.upgraded || conn.close')]),
  broken('acknowledging-unrevoked', 'a connection that acknowledges stays when its session is revoked', ['REVOKE-01/websocket', 'REVOKE-01/polling'], [N, revoked, revoked.replace('stay.socket.conn.', 'stay.socket.data.outbox.acknowledges || stay.socket.conn.')]),
  broken('acknowledging-outlives', 'a connection that acknowledges stays when its token has ended', ['EXPIRY-01/websocket', 'EXPIRY-01/polling'], [N, overdue, overdue.replace('conn.close', 'data.outbox.acknowledges || conn.close')]),
  broken('upgraded-not-pinged', 'a connection that was upgraded is pinged no more', ['HEART-01/upgraded'], engine("it.on('upgrade', () => { clearTimeout(it.pingIntervalTimer); it.pingIntervalTimer = { refresh() {} }; });")),
  broken('upgraded-not-timed', 'a connection that was upgraded need answer no ping', ['HEART-02/upgraded'], engine("it.on('upgrade', () => { it.resetPingTimeout = () => it.pingIntervalTimer.refresh(); });")),
  broken('upgraded-need-not-acknowledge', 'a connection that was upgraded need not acknowledge in time', ['ACK-09/timeout-upgraded'], [O, timed, timed.replace(')) parcel', ') && !this.conn.upgraded) parcel')]),
  broken('polling-need-not-acknowledge', 'a polling client need not acknowledge in time', ['ACK-09/timeout-polling'], [O, timed, timed.replace(')) parcel', ") && this.conn.transport.name !== 'polling') parcel")]),
  broken('queue-need-not-be-acknowledged', 'queued.events of several need not be acknowledged in time', ['ACK-09/queue'], [O, '    for (const parcel of parcels) this.#expectAck', '    for (const parcel of parcels) if (parcel.events.length === 1) this.#expectAck']),
  broken('upgraded-and-silent', 'whoever upgrades and sends no CONNECT stays', ['TRANS-09/silent-upgraded'], patient, closedUnless('upgraded'), marksIn),
  broken('refused-by-polling', 'whoever was refused over polling stays', ['TRANS-09/refused-polling'], patient, closedUnless('isSpared'), marksIn, [N, '.then(() => next(), next)', ".then(() => next(), (error) => { socket.conn.isSpared = socket.conn.transport.name === 'polling'; next(error); })"]),
];
