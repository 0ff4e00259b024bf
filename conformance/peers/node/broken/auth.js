// What is broken about tokens, sessions and origins (SPEC 2 and 7).

import { broken } from './entry.js';

const findToken = '  const token = handshake.auth?.token ?? handshake.headers.authorization;';
const tokenElsewhere = (place) => ['auth.js', findToken, `  const token = handshake.auth?.token ?? handshake.headers.authorization ?? ${place};`];
const cookie = "/(?:^|; )(?:token|access_token|jwt)=([^;]+)/.exec(handshake.headers.cookie ?? '')?.[1]";
const overPolling = (place) => `(handshake.query.transport === 'polling' ? ${place} : undefined)`;
const endsAt = '    const endsAt = expiresAt && Date.parse(expiresAt);';
const expiry = (written) => ['http.js', endsAt, `    const endsAt = ${written};`];
const admit = '    const { userId, sessionId, endsAt } = this.verify(findToken(socket.handshake));';
const owner = "      if (owner !== userId || stay.isOver) throw new Refusal('session_invalid');";
const allowed = 'origins.has(normalOrigin(origin))';
const corsHeaders = "  if (origin === undefined || !isAllowed(origins, headers)) return undefined;";

export const auth = [
  broken('leeway-8', 'tokens are accepted for 8 s after their exp', ['AUTH-08/expired'], ['auth.js', 'exp + LEEWAY_SECONDS', 'exp + 8']),
  broken('leeway-60', 'tokens are accepted for a minute after their exp', ['AUTH-08/expired'], ['auth.js', 'exp + LEEWAY_SECONDS', 'exp + 60']),
  broken('nbf-leeway-8', 'tokens are accepted 8 s before their nbf', ['AUTH-09/nbf'], ['auth.js', 'nbf <= now + LEEWAY_SECONDS', 'nbf <= now + 8']),
  broken('expiry-not-looked-at-by-polling', 'over polling an expired token is accepted', ['AUTH-05/polled'],
    ['notifications.js', admit, "    const token = findToken(socket.handshake);\n    const polls = socket.conn.transport.name === 'polling';\n    const { userId, sessionId, endsAt = Infinity } = polls ? JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString() || '{}') : this.verify(token);"]),
  broken('token-in-query', 'a token in the query is accepted', ['AUTH-04/url'], tokenElsewhere('handshake.query.token')),
  broken('token-in-query-of-polling', 'a token in the query is accepted on polling', ['AUTH-04/url-polled'], tokenElsewhere(overPolling('handshake.query.token'))),
  broken('access-token-in-query-of-polling', 'access_token in the query is accepted on polling', ['AUTH-04/url-polled'], tokenElsewhere(overPolling('handshake.query.access_token'))),
  broken('token-in-cookie', 'a token in a cookie is accepted', ['AUTH-40/cookie'], tokenElsewhere(cookie)),
  broken('token-in-cookie-of-polling', 'a token in a cookie is accepted on polling', ['AUTH-40/cookie'], tokenElsewhere(overPolling(cookie))),
  broken('token-in-x-header', 'a token in X-Access-Token is accepted', ['AUTH-40/headers'], tokenElsewhere("handshake.headers['x-access-token']")),
  broken('token-in-protocol', 'a token in Sec-WebSocket-Protocol is accepted', ['AUTH-40/headers'], tokenElsewhere("handshake.headers['sec-websocket-protocol']?.split(', ').at(-1)")),
  broken('header-first', 'the header decides before the payload', ['AUTH-02/payload-first'], ['auth.js', 'handshake.auth?.token ?? handshake.headers.authorization', 'handshake.headers.authorization ?? handshake.auth?.token']),
  broken('header-not-on-polling', 'the header does not count on polling', ['AUTH-02/header'], ['auth.js', '?? handshake.headers.authorization', "?? (handshake.query.transport === 'polling' ? undefined : handshake.headers.authorization)"]),
  broken('no-prefix-in-header', 'Bearer is taken off in the payload only', ['AUTH-03/both-places'], ['auth.js', '  const bare = ', '  const bare = handshake.auth?.token === undefined ? token : ']),
  broken('prefix-needed-on-polling', 'over polling a token without Bearer is refused', ['AUTH-03/both-places-polled'], ['auth.js', "  const bare = ", "  if (handshake.query.transport === 'polling' && !/^Bearer /i.test(token)) refuse('token_invalid');\n  const bare = "]),
  broken('any-algorithm', 'every HMAC is accepted, whatever is configured', ['AUTH-06/algorithm'], ['auth.js', 'algorithms: [algorithm]', "algorithms: ['HS256', 'HS384', 'HS512']"]),
  broken('exp-optional', 'a token without exp is accepted', ['AUTH-07/exp'], ['auth.js', '|| !isTime(exp)) refuse', '|| (exp !== undefined && !isTime(exp))) refuse']),
  broken('crit-unread', 'crit is not looked at', ['AUTH-26/crit'], ['auth.js', "      if ('crit' in headerOf(token)) refuse('token_invalid');\n", '']),
  broken('user-id-trimmed', 'spaces around a user id are taken off', ['ROOM-05/look-alikes'], ['auth.js', 'return { userId, sessionId,', 'return { userId: userId.trim(), sessionId,']),
  broken('user-id-normalised', 'user ids are normalised', ['ROOM-05/look-alikes'], ['auth.js', 'return { userId, sessionId,', "return { userId: userId.normalize('NFC'), sessionId,"]),
  broken('refresh-accepted', 'a refresh token is accepted', ['AUTH-13/type'], ['auth.js', "type === 'refresh' || ", '']),
  broken('long-token-refused', 'a token over 16 kB is refused', ['AUTH-27/long'], ['auth.js', '65_536', '16_384']),
  broken('unknown-session-accepted', 'a session that is unknown is accepted', ['AUTH-14/unknown'], ['notifications.js', owner, "      if (owner !== null && owner !== userId) throw new Refusal('session_invalid');"]),
  broken('owner-by-prefix', 'a session counts for whoever has an id that begins like its user', ['AUTH-17/owner'], ['notifications.js', owner, "      if (owner === null || !userId.startsWith(owner)) throw new Refusal('session_invalid');"]),
  broken('owner-unchecked-on-polling', "over polling another user's session is accepted", ['AUTH-17/owner-polled'], ['notifications.js', owner, "      if (owner === null || (owner !== userId && socket.conn.transport.name !== 'polling')) throw new Refusal('session_invalid');"]),
  broken('session-cached', 'a session that was verified once is not looked at again', ['AUTH-15/revoked'],
    ['notifications.js', owner, "      this.seen ??= new Set();\n      if (owner !== userId && !this.seen.has(`${sessionId} ${userId}`)) throw new Refusal('session_invalid');\n      this.seen.add(`${sessionId} ${userId}`);"]),
  broken('refusal-cached', 'a session that was refused once is refused for ever', ['AUTH-14/made-later'],
    ['notifications.js', owner, "      this.seen ??= new Set();\n      if (owner !== userId) this.seen.add(sessionId);\n      if (this.seen.has(sessionId)) throw new Refusal('session_invalid');"]),
  broken('store-away-lets-in', 'where the store is away, clients are let in', ['AUTH-22/fail-closed'], ['notifications.js', 'this.store.session(sessionId).catch(unavailable)', 'this.store.session(sessionId).catch(() => ({ owner: userId }))'],
    ['notifications.js', 'this.store.kept(userId, underWay).catch(unavailable)', 'this.store.kept(userId, underWay).catch(() => ({ events: [], dropped: 0 }))']),
  broken('expiry-ignored', 'a session created with expiresAt never ends', ['AUTH-16/later'], expiry('expiresAt && Date.parse(expiresAt) < Date.now() ? 1 : undefined')),
  broken('expiry-an-hour-late', 'a session ends an hour after its expiresAt', ['AUTH-16/later'], expiry('expiresAt && (Date.parse(expiresAt) < Date.now() ? 1 : Date.parse(expiresAt) + 3_600_000)')),
  broken('expiry-ten-seconds-late', 'a session ends ten seconds after its expiresAt', ['AUTH-16/later'], expiry('expiresAt && (Date.parse(expiresAt) < Date.now() ? 1 : Date.parse(expiresAt) + 10_000)')),
  broken('expiry-early', 'a session ends at once where it has an expiresAt within a minute', ['AUTH-16/later'], expiry('expiresAt && (Date.parse(expiresAt) - 60_000)')),
  broken('expiry-without-offset', 'the offset of expiresAt is not looked at', ['AUTH-16/offset'], expiry("expiresAt && Date.parse(`${expiresAt.slice(0, 19)}Z`)")),
  broken('expiry-kept', 'a session that is replaced without expiresAt keeps its earlier one', ['AUTH-16/replaced'],
    ['store.js', 'if (expiresAt === undefined) await this.redis.set(`session:${id}`, userId);', "if (expiresAt === undefined) await this.redis.set(`session:${id}`, userId, 'KEEPTTL');"]),
  broken('sessions-created-only', 'a session that is there is not replaced', ['EMIT-05/replaced'],
    ['store.js', 'if (expiresAt === undefined) await this.redis.set(`session:${id}`, userId);', "if (expiresAt === undefined) await this.redis.set(`session:${id}`, userId, 'NX');"]),
  broken('revoked-for-ever', 'a session that was revoked cannot be made again', ['AUTH-14/made-later'],
    ['store.js', '    return (await this.redis.del(`session:${id}`)) > 0;', "    const there = (await this.redis.del(`session:${id}`)) > 0;\n    await this.redis.set(`revoked:${id}`, '1');\n    return there;"],
    ['store.js', 'Promise.all([this.redis.get(`session:${id}`),', 'Promise.all([this.redis.exists(`revoked:${id}`).then((is) => (is ? null : this.redis.get(`session:${id}`))),']),
  broken('revokes-all', 'to revoke a session ends those of the same user', ['AUTH-41/one-alone'],
    ['store.js', '    return (await this.redis.del(`session:${id}`)) > 0;', "    const owner = await this.redis.get(`session:${id}`);\n    for (const key of await this.redis.keys('peer:session:*')) {\n      const name = key.slice('peer:'.length);\n      if (owner !== null && (await this.redis.get(name)) === owner) await this.redis.del(name);\n    }\n    return owner !== null;"]),
  broken('session-of-one-user', 'a new session of a user ends the one before', ['AUTH-41/one-alone'],
    ['store.js', '  async putSession(id, userId, expiresAt) {', '  async putSession(id, userId, expiresAt) {\n    const before = await this.redis.getset(`only:${userId}`, id);\n    if (before && before !== id) await this.redis.del(`session:${before}`);']),
  broken('refusal-without-message', 'a refusal has an empty message', ['AUTH-21/codes'], ['notifications.js', '.then(() => next(), next)', ".then(() => next(), () => next(Object.assign(new Error(), { data: {} })))"]),
  broken('refusal-with-token', 'a refusal quotes the token', ['AUTH-24/refusals'], ['notifications.js', '.then(() => next(), next)', '.then(() => next(), (error) => next(new Error(`${error.message} ${socket.handshake.auth?.token}`)))']),

  broken('paths-unguarded', 'origins are looked at for the path as it is written in the documentation alone', ['ORIGIN-04/paths'], ['server.js', '  serveClient: false,', '  serveClient: false,\n  addTrailingSlash: false,'], ['origins.js', '    if (isAllowed(origins, request.headers)) next();', "    if (!request.url.startsWith('/socket.io/') || isAllowed(origins, request.headers)) next();"], ['origins.js', '    if (isAllowed(origins, request.headers)) return;', "    if (!request.url.startsWith('/socket.io/') || isAllowed(origins, request.headers)) return;"]),
  broken('origins-as-expressions', 'the dots of a listed origin stand for any letter', ['ORIGIN-02/unlisted', 'ORIGIN-04/polling', 'ORIGIN-05/upgrade'], ['origins.js', allowed, '[...origins].some((listed) => new RegExp(`^${listed}$`, "i").test(origin))']),
  broken('origins-without-anchors', 'an origin that holds a listed one is allowed', ['ORIGIN-02/unlisted'], ['origins.js', allowed, '[...origins].some((listed) => origin.includes(listed))']),
  broken('origins-by-ending', 'subdomains of a listed origin are allowed', ['ORIGIN-02/unlisted'], ['origins.js', allowed, '(origins.has(normalOrigin(origin)) || [...origins].some((listed) => origin.endsWith(`.${listed.split("//")[1]}`)))']),
  broken('origins-without-port', 'the port of an origin is not looked at', ['ORIGIN-02/unlisted'], ['origins.js', allowed, "[...origins].some((listed) => listed.replace(/:\\d+$/, '') === origin.replace(/:\\d+$/, ''))"]),
  broken('origins-without-scheme', 'the scheme of an origin is not looked at', ['ORIGIN-02/unlisted'], ['origins.js', allowed, "[...origins].some((listed) => listed.split('//')[1] === origin.split('//')[1])"]),
  broken('localhost-allowed', 'every port of localhost is allowed', ['ORIGIN-02/unlisted'], ['origins.js', allowed, '(origins.has(normalOrigin(origin)) || /^https?:\\/\\/localhost(:\\d+)?$/.test(origin))']),
  broken('null-allowed', 'the origin null is allowed', ['ORIGIN-02/unlisted'], ['origins.js', allowed, "(origin === 'null' || origins.has(normalOrigin(origin)))"]),
  broken('first-origin-only', 'of the listed origins the first counts', ['ORIGIN-01/listed'], ['origins.js', allowed, '[...origins][0] === normalOrigin(origin)']),
  broken('control-reflects', 'the control routes allow any origin, with credentials', ['ORIGIN-02/control'], ['origins.js', corsHeaders, '  if (origin === undefined) return undefined;']),
  broken('control-wildcard', 'the control routes allow any origin', ['ORIGIN-02/control'], ['origins.js', corsHeaders, "  if (origin === undefined || !isAllowed(origins, headers)) return { 'access-control-allow-origin': '*' };"]),
  broken('polls-unguarded', 'polls with a sid from an unlisted origin are served', ['ORIGIN-04/later-requests'], ['origins.js', '    if (isAllowed(origins, request.headers)) next();', '    if (request._query.sid || isAllowed(origins, request.headers)) next();']),
  broken('upgrades-unguarded', 'upgrades from an unlisted origin are served', ['ORIGIN-05/upgrade'], ['origins.js', '    if (isAllowed(origins, request.headers)) return;', '    return;'], ['origins.js', '    if (isAllowed(origins, request.headers)) next();', '    if (!(response instanceof ServerResponse) || isAllowed(origins, request.headers)) next();']),
  broken('no-vary', 'what depends on the origin has no Vary', ['ORIGIN-20/vary'], ['origins.js', ", vary: 'Origin' }", ' }']),
  broken('no-credentials', 'a listed origin is allowed no credentials', ['ORIGIN-01/listed'], ['origins.js', 'isAllowed(origins, request.headers), credentials: true })', 'isAllowed(origins, request.headers) })']),
];
