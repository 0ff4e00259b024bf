// The heart: who is let into the namespace, and how an event reaches its recipient, live or by the queue (SPEC 2 to 5).

import { v7 as uuidv7 } from 'uuid';

import { Refusal, findToken, tokenVerifier } from './auth.js';
import { Turns } from './turns.js';

export const EVENT_TYPES = new Set(['record.accessed', 'access.granted', 'access.revoked', 'record.uploaded']);

export class Notifications {
  #turns = new Turns();
  /** User id → the user's connected sockets. */
  #devices = new Map();

  /** `stays`: for how long a client that has left may be without a namespace, in milliseconds. */
  constructor(io, store, jwt, stays) {
    this.stays = stays;
    this.store = store;
    this.verify = tokenVerifier(jwt);
    this.namespace = io.of('/notifications');
    this.namespace.use((socket, next) => this.#admit(socket).then(() => next(), next));
    this.namespace.on('connection', (socket) => this.#welcome(socket));
  }

  /** Emits one after the other to one recipient each; answers `{eventId, delivery}` for each, and nothing for one that the store failed. */
  async emit(drafts) {
    const events = drafts.map(({ eventType, actorId, resourceId, metadata = {} }) => ({
      recipient: recipientOf(resourceId, metadata),
      payload: { eventType, actorId, resourceId, timestamp: new Date().toISOString(), metadata, eventId: uuidv7() },
    }));
    const answers = new Map();
    await Promise.allSettled(
      [...byRecipient(events)].map(async ([recipient, theirs]) => {
        const given = await this.#handOver(recipient, theirs);
        theirs.forEach((event, at) => answers.set(event, given[at]));
      }),
    );
    return events.map((event) => answers.get(event));
  }

  async #handOver(recipient, events) {
    // Nothing to wait for: the common case costs no turn.
    if (this.#turns.isFree(recipient) && this.#isConnected(recipient)) return this.#send(recipient, events);
    const end = await this.#turns.take(recipient);
    try {
      if (this.#isConnected(recipient)) return this.#send(recipient, events);
      await this.store.append(recipient, events.map((event) => event.payload));
      return events.map(({ payload }) => ({ eventId: payload.eventId, delivery: 'queued' }));
    } finally {
      end();
    }
  }

  #send(recipient, events) {
    const devices = this.#devices.get(recipient);
    return events.map(({ payload }) => {
      if (devices.size === 1) for (const device of devices) device.emit(payload.eventType, payload);
      else this.namespace.to(room(recipient)).emit(payload.eventType, payload);
      return { eventId: payload.eventId, delivery: 'live' };
    });
  }

  #isConnected(userId) {
    for (const socket of this.#devices.get(userId) ?? []) if (socket.conn.readyState === 'open') return true;
    return false;
  }

  /** Before the CONNECT is answered. Holds the user's turn until the client is in, or is gone. */
  async #admit(socket) {
    const { userId, sessionId } = this.verify(findToken(socket.handshake));
    const end = await this.#turns.take(userId);
    try {
      const { owner, entries } = await this.store.sessionAndQueue(sessionId, userId).catch(() => {
        throw new Refusal('unavailable');
      });
      if (owner !== userId) throw new Refusal('session_invalid');
      if (socket.conn.readyState !== 'open') throw new Refusal('unavailable');
      socket.data = { userId, entries, end };
      // Where the connection closes before the CONNECT is answered, nobody else would end the turn.
      socket.conn.once('close', end);
    } catch (refusal) {
      end();
      throw refusal;
    }
  }

  #welcome(socket) {
    const { userId, entries, end } = socket.data;
    socket.join(room(userId));
    const devices = this.#devices.get(userId) ?? new Set();
    this.#devices.set(userId, devices.add(socket));
    socket.on('disconnect', (reason) => {
      devices.delete(socket);
      if (devices.size === 0 && this.#devices.get(userId) === devices) this.#devices.delete(userId);
      if (reason === 'client namespace disconnect') this.#closeUnlessBack(socket);
    });
    socket.on('ping', (...args) => {
      const acknowledge = args.at(-1);
      if (typeof acknowledge === 'function') acknowledge('pong');
    });
    this.#drain(socket, userId, entries).finally(end);
  }

  /** TRANS-14. */
  #closeUnlessBack({ client, conn }) {
    const timer = setTimeout(() => {
      if (![...this.namespace.sockets.values()].some((socket) => socket.client === client)) conn.close();
    }, this.stays);
    conn.once('close', () => clearTimeout(timer));
  }

  async #drain(socket, userId, entries) {
    if (entries.length === 0) return;
    const payloads = this.store.payloads(entries);
    if (payloads.length > 0) socket.emit('queued.events', payloads);
    // Where this fails they come once more, which is better than never.
    await this.store.dropOldest(userId, entries.length).catch(() => {});
  }
}

const room = (userId) => `user ${userId}`;

/** EVENT-09 and EVENT-10. */
function recipientOf(resourceId, { targetUserId }) {
  return typeof targetUserId === 'string' && targetUserId !== '' ? targetUserId : resourceId;
}

function byRecipient(events) {
  const groups = new Map();
  for (const event of events) {
    const group = groups.get(event.recipient);
    if (group) group.push(event);
    else groups.set(event.recipient, [event]);
  }
  return groups;
}
