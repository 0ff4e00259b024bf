// What is on its way to one client, and what has to wait for it: so that nothing is lost when its connection breaks, and nothing piles up
// while it does not read (SPEC 9 and 11). Knows nothing of users, tokens and the store.

import { timeToTake } from './pace.js';

/** What the library may have for one connection. A client for which there is more is behind (SLOW-09). */
const LIMIT = 400 * 1024;

export class Outbox {
  /** With the library, and with the transport. */
  #given = { parcels: [], bytes: 0 };
  #underWay = { parcels: [], bytes: 0 };
  /** What a client that acknowledges has yet to acknowledge. */
  #owed = new Set();
  #cap;
  #ackTimeoutMs;
  #listeners;
  /** What a plain client has to wait for, the newest up to the cap. Of one that acknowledges the store has it. */
  missed = [];
  hasMissed = false;

  /** Calls `handed` with the events that were handed over each time that there were any. */
  constructor({ conn }, { acknowledges, cap, ackTimeoutMs, handed }) {
    this.acknowledges = acknowledges;
    this.conn = conn;
    this.#cap = cap;
    this.#ackTimeoutMs = ackTimeoutMs;
    this.#listeners = {
      packetCreate: ({ data = '' }) => (this.#given.bytes += data.length),
      flush: () => this.#flushed(),
      handed: () => {
        const { parcels } = this.#underWay;
        this.#underWay = { parcels: [], bytes: 0 };
        handed(parcels.flatMap(({ events }) => events));
      },
    };
    for (const [name, listener] of Object.entries(this.#listeners)) conn.on(name, listener);
  }

  /**
   * Nothing more is given to the connection. Calls `done` once nothing is under way any more: it was handed over, or the connection is
   * closed. Takes back what the library has not given to the transport.
   */
  end(done) {
    for (const { timer } of this.#owed) clearTimeout(timer);
    this.conn.writeBuffer = this.conn.writeBuffer.filter(({ type }) => type !== 'message');
    this.miss(this.#given.parcels.flatMap(({ events }) => events));
    this.#given = { parcels: [], bytes: 0 };
    const settle = () => {
      for (const [name, listener] of Object.entries(this.#listeners)) this.conn.off(name, listener);
      this.conn.off('handed', settle).off('close', settle);
      done();
    };
    if (this.isIdle || this.conn.readyState === 'closed') settle();
    else this.conn.on('handed', settle).on('close', settle);
  }

  #flushed() {
    const { parcels, bytes } = this.#given;
    this.#given = { parcels: [], bytes: 0 };
    this.#underWay.parcels.push(...parcels);
    this.#underWay.bytes += bytes;
    for (const parcel of parcels) this.#expectAck(parcel, bytes);
  }

  get isBehind() {
    return this.hasMissed || this.#given.bytes + this.#underWay.bytes > LIMIT;
  }

  /** Whether all that the library was given was handed over. */
  get isIdle() {
    return this.#given.parcels.length === 0 && this.#underWay.parcels.length === 0;
  }

  /** All that is on its way or waits. */
  events() {
    const parcels = [...this.#given.parcels, ...this.#underWay.parcels, ...this.#owed];
    return [...parcels.flatMap(({ events }) => events), ...this.missed];
  }

  /** Notes that these are given to the library now, in one packet; returns what to do when the client acknowledges them. */
  give(events, acknowledged) {
    const parcel = { events };
    this.#given.parcels.push(parcel);
    if (!this.acknowledges) return undefined;
    this.#owed.add(parcel);
    return () => {
      clearTimeout(parcel.timer);
      this.#owed.delete(parcel);
      acknowledged();
    };
  }

  /** Notes that these have to wait. */
  miss(events) {
    this.hasMissed = true;
    if (!this.acknowledges) this.missed = [...this.missed, ...events].slice(-this.#cap);
  }

  /** What waited, and waits no longer, oldest first. */
  takeMissed() {
    const missed = this.missed.sort((a, b) => (a.payload.eventId < b.payload.eventId ? -1 : 1));
    this.missed = [];
    this.hasMissed = false;
    return missed;
  }

  /** ACK-09: the time that the bytes take to reach the client does not count. */
  #expectAck(parcel, bytes) {
    if (this.#owed.has(parcel)) parcel.timer = setTimeout(() => this.conn.close(true), this.#ackTimeoutMs + timeToTake(this.conn, bytes));
  }
}
