// How Nest makes the socket.io server: limits, heartbeat, and which browsers may come (SPEC 1, 7, 17). Knows no user.

import { type IncomingMessage, ServerResponse } from 'node:http';

import type { INestApplicationContext } from '@nestjs/common';
import { IoAdapter } from '@nestjs/platform-socket.io';
import type { Server, ServerOptions } from 'socket.io';

import { corsOptions, isAllowed } from '../origins.js';
import type { Settings } from '../settings.js';

const MAX_PAYLOAD_BYTES = 256 * 1024;
/** TRANS-09 allows 10 s. */
export const CONNECT_TIMEOUT_MS = 8_000;

export class NotificationsAdapter extends IoAdapter {
  constructor(
    app: INestApplicationContext,
    private readonly settings: Settings,
  ) {
    super(app);
  }

  override createIOServer(port: number, options?: ServerOptions): Server {
    const server: Server = super.createIOServer(port, {
      ...options,
      ...this.settings.heartbeat,
      connectTimeout: CONNECT_TIMEOUT_MS,
      maxHttpBufferSize: MAX_PAYLOAD_BYTES,
      serveClient: false,
      cors: corsOptions(this.settings.origins),
    } as ServerOptions);
    // Only the gateway's namespace is open (TRANS-05); the root would be, too.
    server.use((_socket, next) => next(new Error('unknown_namespace')));
    server.engine.use((request: IncomingMessage, response: ServerResponse, next: () => void) => {
      if (isAllowed(this.settings.origins, request.headers)) next();
      else forbid(request, response);
    });
    server.engine.use((request: IncomingMessage & { _query: Record<string, string> }, response: ServerResponse, next: () => void) => {
      // The library answers what is too large with 413 and leaves the session open (TRANS-11).
      if (response instanceof ServerResponse) {
        response.on('finish', () => {
          if (response.statusCode === 413) closeSession(server, request._query['sid']);
        });
      }
      next();
    });
    return server;
  }
}

/**
 * Each request is looked at, an upgrade as well (ORIGIN-04, ORIGIN-05): CORS headers keep nobody out, `allowRequest` of the library sees
 * the first of a session only, and an upgrade that it refuses is answered with 400.
 */
function forbid(request: IncomingMessage, response: ServerResponse): void {
  if (response instanceof ServerResponse) response.writeHead(403).end();
  else request.socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
}

function closeSession(server: Server, sid: string | undefined): void {
  const clients = (server.engine as unknown as { clients: Record<string, { close(discard: boolean): void } | undefined> }).clients;
  if (sid !== undefined) clients[sid]?.close(true);
}
