// Which browsers may come in (SPEC 7). `undefined` stands for `CORS_ORIGIN=*`, else the origins are a set.

/** Scheme, host and port, written in one way; `undefined` where the text is no origin. */
export function normalOrigin(text) {
  if (!/^[a-z][a-z\d+.-]*:\/\/[^/?#@\s]+$/i.test(text)) return undefined;
  try {
    const { protocol, host } = new URL(text);
    return host ? `${protocol}//${host}` : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a request from there may come to the sockets. Native clients send no origin (ORIGIN-06). */
const isAllowed = (origins, origin) => origin === undefined || origins === undefined || origins.has(normalOrigin(origin));

export const PREFLIGHT = {
  'access-control-allow-methods': 'GET, POST, PUT, DELETE',
  'access-control-allow-headers': 'authorization, content-type, idempotency-key',
};

/** What a browser there may read (ORIGIN-01 to ORIGIN-03); `undefined` where it may read nothing. */
export function corsHeaders(origins, origin) {
  if (origins === undefined) return { 'access-control-allow-origin': '*' };
  if (origin === undefined || !isAllowed(origins, origin)) return undefined;
  return { 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', vary: 'Origin' };
}

/** The same for the sockets, as socket.io wants it. */
export function socketCors(origins) {
  if (origins === undefined) return { origin: '*' };
  return { origin: (origin, done) => done(null, isAllowed(origins, origin)), credentials: true };
}

/** Refuses strangers with 403 (ORIGIN-04, ORIGIN-05); an upgrade by hand, for the library would say 400. */
export function guardSockets(server, io, origins) {
  io.engine.opts.allowRequest = (request, done) => done(null, isAllowed(origins, request.headers.origin));
  server.prependListener('upgrade', (request, socket) => {
    if (isAllowed(origins, request.headers.origin)) return;
    socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  });
}
