// The official client, with what it receives in an inbox. Every wait has a limit and says what it waited for.

import net from 'node:net';
import { io } from 'socket.io-client';

/** The three ways to connect: by which options, and what the client ends up on. */
export const TRANSPORTS = [
  { name: 'default: polling, then upgrade', options: {}, settled: 'websocket' },
  { name: 'polling only', options: { transports: ['polling'] }, settled: 'polling' },
  { name: 'websocket only', options: { transports: ['websocket'] }, settled: 'websocket' },
];

const LIMIT_MS = 5_000;
/** The library waits up to a second and a half before its first attempt to reconnect, three before the second. */
const RECONNECT_LIMIT_MS = 15_000;

// `localhost` may mean ::1 first, where nobody listens. Node 20 then tries the other by itself, Node 18 when told.
net.setDefaultAutoSelectFamily?.(true);

export class Client {
  #inbox = [];
  #arrived = () => {};

  /**
   * As in the snippet of the module's documentation, with `options` added; gone when the test `t` ends. What asks for an
   * acknowledgement gets one.
   */
  constructor(t, server, options, namespace = '/notifications') {
    this.socket = io(`http://localhost:${server.port}${namespace}`, options);
    this.socket.onAny((...event) => {
      if (typeof event.at(-1) === 'function') {
        event.pop()();
      }
      this.#inbox.push(event);
      this.#arrived();
    });
    t.after(() => this.socket.disconnect());
  }

  /** Waits until the client is connected. Call it in the same turn as what makes the client connect. */
  async connected() {
    const [name, error] = await this.#first(LIMIT_MS, 'connect', 'connect_error');
    if (name === 'connect_error') {
      throw new Error('the client was refused', { cause: error });
    }
  }

  /** Waits for a CONNECT_ERROR of the server; answers the error that a listener of `connect_error` gets. */
  async refused() {
    const [name, error] = await this.#first(LIMIT_MS, 'connect', 'connect_error');
    if (name === 'connect') {
      throw new Error('the client was accepted');
    }
    if (error.type === 'TransportError') {
      throw new Error('the connection failed, which is no refusal', { cause: error });
    }
    return error;
  }

  /** Waits until the library has reconnected by itself; attempts may fail before. */
  async reconnected() {
    await this.#first(RECONNECT_LIMIT_MS, 'connect');
  }

  /** Waits until the connection is lost; answers the reason that the library gives. */
  async disconnected() {
    const [, reason] = await this.#first(LIMIT_MS, 'disconnect');
    return reason;
  }

  /** Waits until the client has moved from polling to a WebSocket. */
  async upgraded() {
    const { engine } = this.socket.io;
    if (engine.transport.name !== 'websocket') {
      await within(LIMIT_MS, 'upgrade', new Promise((resolve) => engine.once('upgrade', resolve)));
    }
  }

  get transport() {
    return this.socket.io.engine.transport.name;
  }

  /** The next event of any name that has not been looked at, as `[name, …arguments]`. */
  async next() {
    if (this.#inbox.length === 0) {
      await within(LIMIT_MS, 'event', new Promise((resolve) => (this.#arrived = resolve)));
    }
    return this.#inbox.shift();
  }

  #first(limit, ...names) {
    const event = new Promise((resolve) => {
      for (const name of names) {
        this.socket.once(name, (...rest) => resolve([name, ...rest]));
      }
    });
    return within(limit, names.join(' or '), event);
  }
}

async function within(limit, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${limit} ms`)), limit);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
