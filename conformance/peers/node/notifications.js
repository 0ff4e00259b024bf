// The heart: who is let into the namespace, and how an event reaches its recipient, live or by the queue (SPEC 2 to 5).

import { v7 as uuidv7 } from 'uuid';

import { LEEWAY_SECONDS, Refusal, bareToken, findToken, tokenVerifier } from './auth.js';
import { Outbox } from './outbox.js';
import { countLastAnswer } from './pace.js';
import { Turns } from './turns.js';

export const EVENT_TYPES = new Set(['record.accessed', 'access.granted', 'access.revoked', 'record.uploaded']);

/** How long to wait before the store is asked again to take back what a broken connection has left. */
const RETRY_MS = 500;
/** The longest that a timer of Node runs. */
const LONGEST_MS = 2 ** 31 - 1;

export class Notifications {
  #turns = new Turns();
  /** User id → the user's connected sockets. */
  #devices = new Map();
  /** User id → what is on its way to them, and to those that have left. */
  #outboxes = new Map();
  /** Session id → the sockets that are in by it, or about to be. */
  #sessions = new Map();
  /** The connections whose CONNECT is being looked into. */
  #atTheDoor = new WeakSet();

  /** `stays`: for how long a client that has left may be without a namespace, in milliseconds. */
  constructor(io, store, { jwt, ackTimeoutMs }, stays) {
    this.stays = stays;
    this.store = store;
    this.ackTimeoutMs = ackTimeoutMs;
    this.verify = tokenVerifier(jwt);
    this.namespace = io.of('/notifications');
    this.namespace.use((socket, next) => {
      // The library takes a second CONNECT for a fault only once the first is in (TRANS-08).
      if (this.#atTheDoor.has(socket.conn)) return socket.conn.close();
      this.#atTheDoor.add(socket.conn);
      return this.#admit(socket).finally(() => this.#atTheDoor.delete(socket.conn)).then(() => next(), next);
    });
    this.namespace.on('connection', (socket) => this.#welcome(socket));
  }

  /** Emits one after the other to one recipient each; answers `{eventId, delivery}` for each, and nothing for one that the store failed. */
  async emit(drafts) {
    const events = drafts.map(({ eventType, actorId, resourceId, metadata = {} }) => ({
      recipient: recipientOf(resourceId, metadata),
      payload: { eventType, actorId, resourceId, timestamp: new Date().toISOString(), metadata, eventId: uuidv7() },
    }));
    const answers = new Map();
    const answer = (event, delivery) => answers.set(event, { eventId: event.payload.eventId, delivery });
    await Promise.allSettled([...byRecipient(events)].map(([recipient, theirs]) => this.#handOver(recipient, theirs, answer)));
    return events.map((event) => answers.get(event));
  }

  /** Gives events to the recipient's devices, and stores what none can take, or what has to be acknowledged. */
  async #handOver(recipient, events, answer) {
    // Nothing to wait for: the common case costs no turn.
    if (this.#turns.isFree(recipient) && !this.#acknowledges(recipient)) events = this.#send(recipient, events, answer);
    if (events.length === 0) return;
    const end = await this.#turns.take(recipient);
    try {
      if (!this.#acknowledges(recipient)) events = this.#send(recipient, events, answer);
      if (events.length === 0) return;
      await this.store.append(recipient, events, this.#beyondCap(recipient, events));
      for (const event of this.#send(recipient, events, answer)) {
        for (const device of this.#devices.get(recipient) ?? []) device.data.outbox.miss([event]);
        answer(event, 'queued');
      }
    } finally {
      end();
    }
  }

  /** Sends to whichever devices are not behind, as long as there are any; returns the events that are left. */
  #send(recipient, events, answer) {
    const all = this.#connected(recipient);
    const isKept = this.#acknowledges(recipient);
    for (const [at, event] of events.entries()) {
      const [behind, acknowledging, devices] = [[], [], []];
      for (const device of all) {
        const { isBehind, acknowledges } = device.data.outbox;
        (isBehind ? behind : acknowledges ? acknowledging : devices).push(device);
      }
      if (behind.length === all.length) return events.slice(at);
      const { payload } = Object.assign(event, { isKept });
      for (const device of behind) device.data.outbox.miss([event]);
      for (const device of acknowledging) {
        const acknowledged = device.data.outbox.give([event], () => this.#settle(recipient, [event]));
        device.emit(payload.eventType, payload, acknowledged);
      }
      for (const device of devices) device.data.outbox.give([event]);
      const others = [...behind, ...acknowledging].map(({ id }) => id);
      if (devices.length === 1) for (const device of devices) device.emit(payload.eventType, payload);
      else this.namespace.to(room(recipient)).except(others).emit(payload.eventType, payload);
      answer(event, 'live');
    }
    return [];
  }

  #connected(userId) {
    return [...this.#devices.get(userId) ?? []].filter((socket) => socket.conn.readyState === 'open');
  }

  #acknowledges(userId) {
    for (const socket of this.#devices.get(userId) ?? []) if (socket.data.outbox.acknowledges) return true;
    return false;
  }

  /** ACK-17: what the cap leaves alone, for it is on its way to a client that acknowledges. */
  #beyondCap(userId, events) {
    const devices = this.#connected(userId).filter(({ data }) => data.outbox.acknowledges);
    const onTheirWay = devices.map(({ data }) => data.outbox.events().length + (data.outbox.isBehind ? 0 : events.length));
    return Math.max(0, ...onTheirWay);
  }

  /** These were acknowledged, or delivered to a plain client, and so many losses told: the store keeps them no longer. */
  #settle(userId, events, dropped = 0) {
    const settled = events.filter((event) => !event.isOver);
    for (const event of settled) event.isOver = true;
    // Where this fails they come once more, which is better than never.
    this.store.remove(userId, settled, dropped).catch(() => {});
  }

  /** What the transport of a socket has taken. To a plain client that is delivered. */
  #handed(socket, events) {
    const { userId, outbox } = socket.data;
    if (!outbox.acknowledges) {
      for (const event of events) event.isTaken = true;
      const entries = events.filter((event) => event.text && !event.isKept);
      if (entries.length > 0) this.#settle(userId, entries);
    }
    if (socket.connected && outbox.hasMissed && outbox.isIdle) this.#catchUp(socket);
  }

  /** Before the CONNECT is answered. Holds the user's turn until the client is in, or is gone. */
  async #admit(socket) {
    const { userId, sessionId, endsAt } = this.verify(findToken(socket.handshake));
    const end = await this.#turns.take(userId);
    try {
      const stay = await this.#enterSession(sessionId, userId, socket);
      socket.conn.once('close', () => this.#leaveSession(socket.data.stay));
      socket.data = { userId, stay, endsAt, end, told: 0 };
      const underWay = this.#underWay(userId);
      Object.assign(socket.data, { underWay, kept: await this.store.kept(userId, underWay).catch(unavailable) });
      if (socket.conn.readyState !== 'open') throw new Refusal('unavailable');
      // Where the connection closes before the CONNECT is answered, nobody else would end the turn.
      socket.conn.once('close', end);
    } catch (refusal) {
      this.#leaveSession(socket.data.stay);
      end();
      throw refusal;
    }
  }

  /** AUTH-14 to AUTH-17. From here on the stay follows what becomes of the session. */
  async #enterSession(sessionId, userId, socket) {
    const stay = { sessionId, userId, socket };
    const stays = this.#sessions.get(sessionId) ?? new Set();
    this.#sessions.set(sessionId, stays.add(stay));
    try {
      const { owner, endsAt } = await this.store.session(sessionId).catch(unavailable);
      if (owner !== userId || stay.isOver) throw new Refusal('session_invalid');
      stay.endsAt ??= endsAt;
      return stay;
    } catch (refusal) {
      this.#leaveSession(stay);
      throw refusal;
    }
  }

  #leaveSession(stay) {
    const stays = this.#sessions.get(stay?.sessionId);
    if (stays?.delete(stay) && stays.size === 0) this.#sessions.delete(stay.sessionId);
  }

  /** Tells of a session that was made, replaced or, without a user, revoked (SPEC 13). */
  sessionChanged(sessionId, userId, endsAt = Infinity) {
    for (const stay of this.#sessions.get(sessionId) ?? []) {
      stay.endsAt = endsAt;
      stay.isOver = stay.userId !== userId;
      const isIn = stay.socket.data.stay === stay;
      if (isIn && stay.isOver) stay.socket.conn.close(true);
      else if (isIn) this.#closeInTime(stay.socket);
    }
  }

  /** EXPIRY-01 and REVOKE-06: a connection ends with its token and with its session. */
  #closeInTime({ conn, data }) {
    clearTimeout(data.timer);
    const left = Math.min(data.endsAt, data.stay.endsAt) + LEEWAY_SECONDS * 1_000 - Date.now();
    if (left <= 0) conn.close(true);
    else if (conn.readyState === 'open') data.timer = setTimeout(() => this.#closeInTime({ conn, data }), Math.min(left, LONGEST_MS));
  }

  #welcome(socket) {
    const { userId, end } = socket.data;
    socket.data.outbox = new Outbox(socket, {
      acknowledges: socket.handshake.auth.ack === true,
      cap: this.store.queue.maxEvents,
      ackTimeoutMs: this.ackTimeoutMs,
      handed: (events) => this.#handed(socket, events),
    });
    this.#outboxes.set(userId, (this.#outboxes.get(userId) ?? new Set()).add(socket.data.outbox));
    socket.join(room(userId));
    const devices = this.#devices.get(userId) ?? new Set();
    this.#devices.set(userId, devices.add(socket));
    socket.on('disconnect', (reason) => {
      devices.delete(socket);
      if (devices.size === 0 && this.#devices.get(userId) === devices) this.#devices.delete(userId);
      clearTimeout(socket.data.timer);
      this.#leaveSession(socket.data.stay);
      if (reason === 'client namespace disconnect') this.#closeUnlessBack(socket);
      countLastAnswer(socket.conn);
      socket.data.outbox.end(() => this.#putBack(socket.data));
    });
    socket.on('ping', (...args) => {
      const acknowledge = args.at(-1);
      if (typeof acknowledge === 'function') acknowledge('pong');
    });
    socket.on('auth.refresh', async (given, reply) => {
      const answer = await this.#refresh(socket, given).catch(({ message }) => ({ ok: false, code: message }));
      if (typeof reply === 'function') reply(answer);
    });
    this.#closeInTime(socket);
    this.#drain(socket, socket.data);
    end();
  }

  /** TRANS-14. */
  #closeUnlessBack({ client, conn }) {
    const timer = setTimeout(() => {
      if (![...this.namespace.sockets.values()].some((socket) => socket.client === client)) conn.close();
    }, this.stays);
    conn.once('close', () => clearTimeout(timer));
  }

  /** EXPIRY-03 to EXPIRY-07. */
  async #refresh(socket, given) {
    const { userId, sessionId, endsAt } = this.verify(bareToken(typeof given === 'object' ? given?.token : given));
    if (userId !== socket.data.userId) throw new Refusal('token_invalid');
    const stay = await this.#enterSession(sessionId, userId, socket);
    this.#leaveSession(socket.connected ? socket.data.stay : stay);
    if (socket.connected) Object.assign(socket.data, { stay, endsAt });
    this.#closeInTime(socket);
    return { ok: true };
  }

  /** Everything that is on its way to the user's devices, or waits for them, by its eventId. */
  #underWay(userId) {
    const events = [...this.#outboxes.get(userId) ?? []].flatMap((outbox) => outbox.events());
    return new Map(events.map((event) => [event.payload.eventId, event]));
  }

  /** Sends what is kept for the user, but for what is on its way already: to a client that acknowledges, all that nobody has acknowledged. */
  #drain(socket, { kept, underWay }) {
    const { outbox } = socket.data;
    if (outbox.acknowledges) {
      const mine = new Set(outbox.events());
      return this.#sendKept(socket, kept.events.filter((event) => !mine.has(event) && !event.isOver), kept.dropped);
    }
    const events = kept.events.filter(({ payload }) => !underWay.has(payload.eventId));
    this.#sendQueue(socket, events);
  }

  #sendQueue(socket, entries) {
    if (entries.length === 0) return;
    for (const entry of entries) entry.isQueue = true;
    socket.data.outbox.give(entries);
    const payloads = entries.map(({ payload }) => payload);
    if (payloads.length > 0) socket.emit('queued.events', payloads);
  }

  #sendKept(socket, entries, dropped) {
    const { userId, outbox } = socket.data;
    for (const entry of entries) entry.isKept = true;
    if (entries.length === 0 && dropped === 0) return;
    socket.data.told = dropped;
    const acknowledged = outbox.give(entries, () => {
      // What was told before, or to another device, may have been acknowledged already.
      const told = Math.min(dropped, socket.data.told);
      for (const { data } of new Set([socket, ...this.#devices.get(userId) ?? []])) data.told = Math.max(0, data.told - told);
      this.#settle(userId, entries, told);
    });
    socket.emit('queued.events', entries.map(({ payload }) => payload), { complete: dropped === 0, dropped }, acknowledged);
  }

  /** SLOW-09: a client that was behind has taken all that there was, and gets what it had to wait for. */
  async #catchUp(socket) {
    const { userId, outbox } = socket.data;
    if (!outbox.acknowledges) return this.#sendQueue(socket, outbox.takeMissed());
    const end = await this.#turns.take(userId);
    try {
      if (!outbox.hasMissed || !socket.connected) return;
      const kept = await this.store.kept(userId, this.#underWay(userId));
      outbox.takeMissed();
      this.#drain(socket, { kept });
    } catch {
      setTimeout(() => this.#catchUp(socket), RETRY_MS);
    } finally {
      end();
    }
  }

  /** SLOW-08 and SLOW-10: what a plain client that is gone has not taken is another's, or is queued. */
  async #putBack({ userId, outbox }) {
    const outboxes = this.#outboxes.get(userId);
    outboxes.delete(outbox);
    if (outboxes.size === 0) this.#outboxes.delete(userId);
    const elsewhere = this.#underWay(userId);
    const back = outbox.events().filter((event) => !event.isTaken && (event.isQueue || !event.isKept) && !elsewhere.has(event.payload.eventId));
    if (outbox.acknowledges || back.length === 0) return;
    const end = await this.#turns.take(userId);
    const devices = this.#connected(userId);
    const plain = devices.find(({ data }) => !data.outbox.acknowledges);
    if (!plain) await this.#keepAgain(userId, back.filter((event) => !event.text));
    const next = plain ?? devices[0];
    next?.data.outbox.miss(back);
    if (next?.data.outbox.isIdle) this.#catchUp(next);
    end();
  }

  async #keepAgain(userId, events) {
    if (events.length === 0) return;
    await this.store.append(userId, events).catch(() => setTimeout(() => this.#keepAgain(userId, events), RETRY_MS));
  }
}

const unavailable = () => {
  throw new Refusal('unavailable');
};

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
