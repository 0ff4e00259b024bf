// What lives in Redis: sessions, queues and the answers to repeated requests. The only file that knows a key.
//
// A queue is a sorted set of `<eventId> <payload>` by the time of the id, so that each event ages by itself (QUEUE-07), and what a
// broken connection gives back finds its place. Beside it stands how many events are owed: those that are gone were dropped (ACK-11).

import { Redis } from 'ioredis';

/** How long Redis may take to answer before it counts as away. */
const TIMEOUT_MS = 2_000;
const ANSWERS_MS = 86_400_000;
/** What is too old may stay for a minute (QUEUE-31). */
const SWEEP_MS = 30_000;

// KEYS: the queue, what is owed. ARGV: oldest time to keep, cap, TTL, then the time and the text of each event.
const APPEND = `
  for i = 4, #ARGV, 2 do redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1]) end
  redis.call('INCRBY', KEYS[2], (#ARGV - 3) / 2)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[2] - 1)
  local newest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
  if newest then redis.call('PEXPIREAT', KEYS[1], newest + ARGV[3]) end`;

// KEYS: the same. ARGV: how many dropped events are owed no more, then the texts of those that are not, either.
const REMOVE = `
  for i = 2, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i]) end
  if redis.call('DECRBY', KEYS[2], #ARGV - 1 + ARGV[1]) <= 0 then redis.call('DEL', KEYS[2]) end`;

export class Store {
  constructor(redis, queue) {
    this.queue = queue;
    this.redis = new Redis({
      ...redis,
      keyPrefix: 'peer:',
      enableAutoPipelining: true,
      // Whoever asks while Redis is away is told so at once, and not made to wait for its return.
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: TIMEOUT_MS,
      connectTimeout: TIMEOUT_MS,
      retryStrategy: () => 200,
      scripts: { appendEvents: { lua: APPEND, numberOfKeys: 2 }, removeEvents: { lua: REMOVE, numberOfKeys: 2 } },
    });
    // Each request that fails for it says so itself.
    this.redis.on('error', () => {});
    // Where Redis is away there is a next time.
    setInterval(() => this.#sweep().catch(() => {}), SWEEP_MS).unref();
  }

  /** Takes out what is too old of queues that have something younger. */
  async #sweep() {
    for await (const keys of this.redis.scanStream({ match: 'peer:queue:*', count: 1_000 })) {
      for (const key of keys) await this.redis.zremrangebyscore(key.slice('peer:'.length), '-inf', Date.now() - this.queue.ttlMs);
    }
  }

  /** Settles once Redis answers. */
  ping() {
    return this.redis.ping();
  }

  async close() {
    this.redis.disconnect();
  }

  /** Creates or replaces a session; `expiresAt` in milliseconds, if it ends at all. */
  async putSession(id, userId, expiresAt) {
    if (expiresAt === undefined) await this.redis.set(`session:${id}`, userId);
    else if (expiresAt <= Date.now()) await this.redis.del(`session:${id}`);
    else await this.redis.set(`session:${id}`, userId, 'PXAT', expiresAt);
  }

  /** Whether there was one. */
  async revokeSession(id) {
    return (await this.redis.del(`session:${id}`)) > 0;
  }

  /** The session's user and its end, in milliseconds. */
  async session(id) {
    const [owner, end] = await Promise.all([this.redis.get(`session:${id}`), this.redis.pexpiretime(`session:${id}`)]);
    return { owner, endsAt: end > 0 ? end : Infinity };
  }

  /**
   * The events that are kept for a user, oldest first, and how many were dropped since that was last told. What is under way (by its
   * eventId) is left alone by the cap (ACK-17).
   */
  async kept(userId, underWay) {
    const [queue, owed] = this.keys(userId);
    const [texts, count] = await Promise.all([this.redis.zrange(queue, 0, -1), this.redis.get(owed)]);
    const all = this.events(texts);
    const over = all.filter(({ payload }) => !underWay.has(payload.eventId)).slice(0, -this.queue.maxEvents);
    if (over.length > 0) await this.redis.zrem(queue, ...over.map(({ text }) => text));
    const events = all.filter((event) => !over.includes(event)).map((event) => underWay.get(event.payload.eventId) ?? event);
    return { events, dropped: Math.max(0, count - events.length) };
  }

  /** What the entries of a queue hold, without those that are damaged or too old (QUEUE-06, QUEUE-15). */
  events(texts) {
    const oldest = Date.now() - this.queue.ttlMs;
    return texts.flatMap((text) => {
      try {
        const event = { text, payload: JSON.parse(text.slice(text.indexOf(' '))) };
        return timeOf(event) > oldest ? [event] : [];
      } catch {
        return [];
      }
    });
  }

  /** Keeps events for a user, who may have so many more than the cap. */
  async append(userId, events, beyond = 0) {
    const { maxEvents, ttlMs } = this.queue;
    const now = Date.now();
    const texts = events.map(({ payload }) => `${payload.eventId} ${JSON.stringify(payload)}`);
    await this.redis.appendEvents(...this.keys(userId), now - ttlMs, maxEvents + beyond, ttlMs, ...texts.flatMap((text, at) => [timeOf(events[at]), text]));
    events.forEach((event, at) => (event.text = texts[at]));
  }

  /** Keeps these no longer, and owes so many dropped ones no more. */
  async remove(userId, events, dropped = 0) {
    await this.redis.removeEvents(...this.keys(userId), dropped, ...events.map(({ text }) => text));
  }

  keys(userId) {
    return [`queue:${userId}`, `owed:${userId}`];
  }

  /** What was accepted of the request with a key, with the digest of its body, or null. */
  async used(key) {
    return JSON.parse(await this.redis.get(`used:${key}`));
  }

  async keepUsed(key, used) {
    await this.redis.set(`used:${key}`, JSON.stringify(used), 'PX', ANSWERS_MS);
  }
}

/** When the event was made: a UUID of version 7 begins with that, in milliseconds. */
const timeOf = ({ payload }) => parseInt(payload.eventId.replace('-', '').slice(0, 12), 16);
