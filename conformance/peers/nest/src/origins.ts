// Which browsers may come in (SPEC 7), for the HTTP routes and the sockets alike.

import type { IncomingHttpHeaders } from 'node:http';

/** Those that are listed, or all of them. */
export type Origins = ReadonlySet<string> | '*';

/** Scheme, host and port, written in one way; `undefined` where the text is no origin. */
export function normalOrigin(text: string): string | undefined {
  if (text === 'null') return text;
  if (!/^[a-z][a-z\d+.-]*:\/\/[^/?#@\s]+$/i.test(text) || !URL.canParse(text)) return undefined;
  const { protocol, host } = new URL(text);
  return host ? `${protocol}//${host}` : undefined;
}

/** Native clients send no origin (ORIGIN-06). */
export function isAllowed(origins: Origins, { origin, host }: IncomingHttpHeaders): boolean {
  if (origins === '*' || origin === undefined) return true;
  const normal = normalOrigin(origin);
  return normal !== undefined && (origins.has(normal) || isOwn(normal, host));
}

/** Whether it is the server's own (ORIGIN-07). By which scheme browsers come is not known here: a proxy may have taken the TLS off. */
function isOwn(normal: string, host: string | undefined): boolean {
  const scheme = /^(?:http|ws)s?:/.exec(normal)?.[0];
  return scheme !== undefined && host !== undefined && normalOrigin(`${scheme}//${host}`) === normal;
}

/** For Express and for socket.io. The list alone would not do: whether an origin is the own one depends on the request. */
export function corsOptions(origins: Origins) {
  return (request: { headers: IncomingHttpHeaders }, done: (error: null, options: { origin: boolean | string; credentials: boolean }) => void): void => {
    if (origins === '*') done(null, { origin: '*', credentials: false });
    else done(null, { origin: isAllowed(origins, request.headers), credentials: true });
  };
}
