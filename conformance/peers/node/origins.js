// Which browsers may come in (SPEC 7). `undefined` stands for `CORS_ORIGIN=*`, else the origins are a set.

import { ServerResponse } from 'node:http';

/** Scheme, host and port, written in one way; `undefined` where the text is no origin. */
export function normalOrigin(text) {
  if (text === 'null') return text;
  if (!/^[a-z][a-z\d+.-]*:\/\/[^/?#@\s]+$/i.test(text)) return undefined;
  try {
    const { protocol, host } = new URL(text);
    return host ? `${protocol}//${host}` : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a request may come to the sockets. Native clients send no origin (ORIGIN-06). */
function isAllowed(origins, { origin, host }) {
  return origin === undefined || origins === undefined || origins.has(normalOrigin(origin)) || isOwn(origin, host);
}

/** Whether this is the origin of the server itself (ORIGIN-07). A proxy may have taken the TLS off. */
function isOwn(origin, host) {
  const scheme = /^(http|ws)s?:/i.exec(origin)?.[0];
  const own = scheme && host && normalOrigin(`${scheme}//${host}`);
  return own !== undefined && own === normalOrigin(origin);
}

/** The answer to a preflight, which is allowed the headers that it asks for (ORIGIN-08). */
export const preflight = (headers) => ({
  'access-control-allow-methods': 'GET, POST, PUT, DELETE',
  'access-control-allow-headers': headers['access-control-request-headers'] ?? 'authorization, content-type, idempotency-key',
});

/** What a browser there may read (ORIGIN-01 to ORIGIN-03); `undefined` where it may read nothing. */
export function corsHeaders(origins, headers) {
  const { origin } = headers;
  if (origins === undefined) return { 'access-control-allow-origin': '*' };
  if (origin === undefined || !isAllowed(origins, headers)) return undefined;
  return { 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', vary: 'Origin' };
}

/** The same for the sockets, as socket.io wants it. */
export function socketCors(origins) {
  if (origins === undefined) return { origin: '*' };
  return (request, done) => done(null, { origin: isAllowed(origins, request.headers), credentials: true });
}

/**
 * Refuses strangers with 403 (ORIGIN-04, ORIGIN-05), in each request: the library's `allowRequest` sees only those without a `sid`. An
 * upgrade is refused by hand, for the library would say 400.
 */
export function guardSockets(server, io, origins) {
  io.engine.use((request, response, next) => {
    if (isAllowed(origins, request.headers)) next();
    else if (response instanceof ServerResponse) response.writeHead(403).end();
  });
  server.prependListener('upgrade', (request, socket) => {
    if (isAllowed(origins, request.headers)) return;
    socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  });
}
