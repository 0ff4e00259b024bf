// Puts the parts together and serves until it is told to stop.

import { Server } from 'socket.io';

import { ConfigError, readConfig } from './config.js';
import { buildHttp } from './http.js';
import { Notifications } from './notifications.js';
import { guardSockets, socketCors } from './origins.js';
import { PacedServer, watchPace } from './pace.js';
import { Store } from './store.js';

const MAX_PAYLOAD_BYTES = 256 * 1024;
/** TRANS-09 allows 10 s. */
const CONNECT_TIMEOUT_MS = 8_000;

let config;
try {
  config = readConfig(process.env);
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  console.error(`the configuration is wrong:\n${error.message}`);
  process.exit(2);
}

const store = new Store(config.redis, config.queue);
const late = {};
const app = buildHttp(config, store, {
  emit: (drafts) => late.notifications.emit(drafts),
  sessionChanged: (...change) => late.notifications.sessionChanged(...change),
});
const io = new Server(app.server, {
  ...config.heartbeat,
  connectTimeout: CONNECT_TIMEOUT_MS,
  maxHttpBufferSize: MAX_PAYLOAD_BYTES,
  serveClient: false,
  wsEngine: PacedServer,
  cors: socketCors(config.origins),
});
guardSockets(app.server, io, config.origins);
watchPace(io.engine);
// Only /notifications is open (TRANS-05).
io.use((_socket, next) => next(new Error('unknown_namespace')));
// The library answers a POST that is too large with 413, and leaves its session open (TRANS-11).
io.engine.use((request, response, next) => {
  response.on?.('finish', () => {
    if (response.statusCode === 413) io.engine.clients[request._query.sid]?.close(true);
  });
  next();
});
// A client may say that its WebSocket can be closed; the library hears that over polling alone.
io.engine.on('connection', (conn) => conn.on('packet', ({ type }) => type === 'close' && conn.close(true)));
late.notifications = new Notifications(io, store, config, CONNECT_TIMEOUT_MS);

await app.listen({ host: config.host, port: config.port });
console.log(`listening on port ${app.server.address().port}`);

/** What has not ended by then is cut off. */
const GRACE_MS = 5_000;

let stopping = false;
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, async () => {
    if (stopping) return;
    stopping = true;
    setTimeout(() => process.exit(0), GRACE_MS).unref();
    // Closes the listener and the connections that rest, then the sockets; requests in hand are finished.
    const closed = app.close();
    await io.close();
    await closed;
    process.exit(0);
  });
}
