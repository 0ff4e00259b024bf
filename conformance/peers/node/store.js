// What lives in Redis: sessions, queues and the answers to repeated requests. The only file that knows a key.
//
// A queue is a list of `<milliseconds> <payload>`, oldest first, so that each event ages by itself (QUEUE-07).

import { Redis } from 'ioredis';

/** How long Redis may take to answer before it counts as away. */
const TIMEOUT_MS = 2_000;
const ANSWERS_MS = 86_400_000;

// KEYS: the queue. ARGV: now, oldest time to keep, cap, TTL, then the entries.
const APPEND = `
  for i = 5, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[1] .. ' ' .. ARGV[i]) end
  redis.call('LTRIM', KEYS[1], -ARGV[3], -1)
  while true do
    local head = redis.call('LINDEX', KEYS[1], 0)
    local at = head and tonumber(string.match(head, '^(%d+) '))
    if not at or at > tonumber(ARGV[2]) then break end
    redis.call('LPOP', KEYS[1])
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[4])`;

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
      scripts: { appendEvents: { lua: APPEND, numberOfKeys: 1 } },
    });
    // Each request that fails for it says so itself.
    this.redis.on('error', () => {});
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

  /** The session's user and what is queued for `userId`, in one round trip. */
  async sessionAndQueue(id, userId) {
    const [owner, entries] = await Promise.all([this.redis.get(`session:${id}`), this.redis.lrange(`queue:${userId}`, 0, -1)]);
    return { owner, entries };
  }

  /** What the entries of a queue hold, without those that are damaged or too old (QUEUE-06, QUEUE-15). */
  payloads(entries) {
    const oldest = Date.now() - this.queue.ttlMs;
    return entries.flatMap((entry) => {
      const blank = entry.indexOf(' ');
      try {
        return Number(entry.slice(0, blank)) > oldest ? [JSON.parse(entry.slice(blank + 1))] : [];
      } catch {
        return [];
      }
    });
  }

  async append(userId, payloads) {
    const { maxEvents, ttlMs } = this.queue;
    const now = Date.now();
    await this.redis.appendEvents(`queue:${userId}`, now, now - ttlMs, maxEvents, ttlMs, ...payloads.map((it) => JSON.stringify(it)));
  }

  /** Removes the oldest `count` entries. */
  async dropOldest(userId, count) {
    await this.redis.ltrim(`queue:${userId}`, count, -1);
  }

  /** What was accepted of the request with a key, with the digest of its body, or null. */
  async used(key) {
    return JSON.parse(await this.redis.get(`used:${key}`));
  }

  async keepUsed(key, used) {
    await this.redis.set(`used:${key}`, JSON.stringify(used), 'PX', ANSWERS_MS);
  }
}
