// How much of what was sent a client has taken. The operating system takes megabytes on a client's behalf and tells nobody how many of
// them have arrived, so the clients are asked: by a ping of WebSocket's own after so many bytes, and by the next poll.
//
// Each connection of Engine.IO emits `handed` when what it last flushed was handed over.

import { WebSocket, WebSocketServer } from 'ws';

/** What may be on its way to a WebSocket client that has not said that it has taken it, and the most that goes in one frame. */
const WINDOW = 32 * 1024;
const SLICE = 8 * 1024;
/** A client that takes less is as good as one that takes nothing (SLOW-06). */
const LEAST_BYTES_PER_MS = 16;
/** Answers that take less time at that pace need no patience; and how often it is renewed. */
const PATIENCE_MS = 500;

/** For how long a client may need at the most to take so many bytes, and what went before. */
export const timeToTake = (conn, bytes) => (bytes + (conn.transport.socket?.ahead ?? 0)) / LEAST_BYTES_PER_MS;

/** A WebSocket that sends a message in slices, no more than a window ahead of its client; it emits `taken` as the client keeps up. */
class PacedWebSocket extends WebSocket {
  #slices = [];
  #sent = 0;
  #asked = 0;
  #taken = 0;
  /** Where in all of this the last ping of Engine.IO ends, if the client has yet to take it. */
  #heartbeat = Infinity;

  constructor(...args) {
    super(...args);
    this.on('pong', (offset) => this.#take(Number(offset)));
  }

  /** How much of what was sent the client has not said that it has taken. */
  get ahead() {
    return this.#sent - this.#taken;
  }

  /** Sends a text. */
  send(text, done) {
    const bytes = text.length > SLICE ? Buffer.from(text) : text;
    for (let at = 0; at === 0 || at < bytes.length; at += SLICE) {
      const isLast = at + SLICE >= bytes.length;
      this.#slices.push({ slice: bytes.slice(at, at + SLICE), fin: isLast, done: isLast ? done : undefined, isPing: text === '2' });
    }
    this.#pump();
  }

  #pump() {
    while (this.#slices.length > 0 && this.ahead < WINDOW) {
      const { slice, fin, done, isPing } = this.#slices.shift();
      super.send(slice, { fin, binary: false }, done);
      this.#sent += slice.length;
      if (isPing) this.#heartbeat = this.#sent;
      if (this.#sent - this.#asked < WINDOW / 2 && !isPing) continue;
      this.#asked = this.#sent;
      this.ping(String(this.#sent));
    }
  }

  #take(offset) {
    if (!(offset > this.#taken && offset <= this.#sent)) return;
    this.#taken = offset;
    const withHeartbeat = offset >= this.#heartbeat;
    if (withHeartbeat) this.#heartbeat = Infinity;
    this.emit('taken', withHeartbeat);
    this.#pump();
  }

  close(...args) {
    // Of a client that does not read, a close would wait behind what it has not read.
    if (this.#slices.length > 0) this.terminate();
    else super.close(...args);
  }
}

/** What Engine.IO makes its WebSockets with. */
export class PacedServer extends WebSocketServer {
  constructor(options) {
    super({ ...options, WebSocket: PacedWebSocket });
  }
}

/** Connection → its last poll. */
const polls = new WeakMap();

/** A connection that ends, or of which a client has left the namespace: an answer that was written whole counts as handed over. */
export function countLastAnswer(conn) {
  const poll = polls.get(conn);
  if (conn.transport.name === 'polling' && poll?.response.writableFinished && !poll.socket.errored) conn.emit('handed');
}

export function watchPace(engine) {
  const polledOver = new WeakMap();
  engine.on('connection', (conn) => {
    if (conn.transport.name === 'websocket') watchWebSocket(conn, conn.transport);
    conn.on('upgrade', (transport) => {
      // The client has taken all that came by polling.
      conn.emit('handed');
      watchWebSocket(conn, transport);
    });
    // A frame that was made for several clients would go by the window.
    conn.on('packetCreate', ({ options }) => (options.wsPreEncodedFrame = undefined));
    conn.on('flush', (packets) => {
      const bytes = packets.reduce((sum, { data = '' }) => sum + data.length, 0);
      if (conn.transport.name === 'polling') bePatient(conn, bytes / LEAST_BYTES_PER_MS);
    });
    conn.prependListener('close', () => countLastAnswer(conn));
  });
  engine.use((request, response, next) => {
    const conn = engine.clients[request._query.sid];
    const isPoll = request.method === 'GET' && request._query.transport === 'polling';
    if (isPoll && conn?.transport.name === 'polling') {
      // A client polls again when it has read the answer.
      conn.emit('handed');
      polls.set(conn, { response, socket: request.socket });
      response.once('close', () => !response.writableFinished && conn.close(true));
      if (!polledOver.has(request.socket)) request.socket.once('close', (failed) => failed && polledOver.get(request.socket)());
      polledOver.set(request.socket, () => polls.get(conn)?.socket === request.socket && conn.close(true));
    }
    next();
  });
}

/** The library closes a client that does not answer its ping in time. A ping that is still on its way needs no answer (HEART-02). */
function watchWebSocket(conn, transport) {
  let hasPing = false;
  conn.on('heartbeat', () => (hasPing = false));
  transport.on('drain', () => conn.emit('handed'));
  transport.socket.on('taken', (withHeartbeat) => {
    if (!hasPing) conn.pingTimeoutTimer?.refresh();
    hasPing ||= withHeartbeat;
  });
}

/** The same for an answer to a poll: until the next one comes, the slowest client may be taking it. */
function bePatient(conn, milliseconds) {
  if (milliseconds < PATIENCE_MS) return;
  const until = Date.now() + milliseconds;
  const poll = polls.get(conn);
  const timer = setInterval(() => {
    if (conn.readyState !== 'open' || polls.get(conn) !== poll || Date.now() > until) clearInterval(timer);
    else conn.pingTimeoutTimer?.refresh();
  }, PATIENCE_MS);
}
