// Keeps events for users who are offline, in Redis (SPEC 5). Says nothing about when: whoever asks holds the user's turn.
//
// A queue is a stream. The id of an entry is the time at which it came, so each event ages by itself, and is removed by name.

import { Injectable, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';

import { RedisService } from '../../redis.service.js';
import { Settings } from '../../settings.js';
import type { NotificationEvent } from '../interfaces/notification-event.interface.js';

/** What is too old may stay for a minute (QUEUE-31). */
const SWEEP_MS = 30_000;
const PREFIX = 'notifications:queue:';

/** The entries of a queue; of those that are damaged there is no event. */
export interface Waiting {
  ids: string[];
  events: NotificationEvent[];
}

@Injectable()
export class NotificationQueueService implements OnModuleInit, OnModuleDestroy {
  private sweeper?: NodeJS.Timeout;

  constructor(
    private readonly redis: RedisService,
    private readonly settings: Settings,
  ) {}

  onModuleInit(): void {
    // Where Redis is away there is a next time.
    this.sweeper = setInterval(() => void this.sweep().catch(() => {}), SWEEP_MS);
  }

  onModuleDestroy(): void {
    clearInterval(this.sweeper);
  }

  /** Appends, cuts to the cap and sets the time to live in one step, so that the cap holds at every moment (QUEUE-05). */
  async append(userId: string, events: readonly NotificationEvent[]): Promise<void> {
    const { maxEvents, ttlMs } = this.settings.queue;
    const step = this.redis.multi();
    for (const event of events.slice(-maxEvents)) step.xadd(keyOf(userId), 'MAXLEN', '=', maxEvents, '*', 'event', JSON.stringify(event));
    step.pexpire(keyOf(userId), ttlMs);
    const failed = (await step.exec())?.find(([error]) => error !== null);
    if (failed) throw failed[0];
  }

  /** What waits, oldest first. It stays until it is removed: what were taken out to be sent would be lost with the process. */
  async read(userId: string): Promise<Waiting> {
    const entries = await this.redis.xrange(keyOf(userId), this.oldest(), '+');
    return { ids: entries.map(([id]) => id), events: entries.flatMap(([, fields]) => parsed(fields[1])) };
  }

  async remove(userId: string, ids: readonly string[]): Promise<void> {
    await this.redis.xdel(keyOf(userId), ...ids);
  }

  /** Takes out what is too old in queues to which newer events were added: the key's own end is that of the newest. */
  private async sweep(): Promise<void> {
    for await (const keys of this.redis.scanStream({ match: `${PREFIX}*`, count: 1_000 })) {
      for (const key of keys) await this.redis.xtrim(key, 'MINID', '=', this.oldest());
    }
  }

  /** The first id that is not too old. */
  private oldest(): number {
    return Date.now() - this.settings.queue.ttlMs;
  }
}

// JSON tells apart what is no Unicode text, too; as UTF-8 all unpaired surrogates would be one letter (ROOM-05).
const keyOf = (userId: string) => PREFIX + JSON.stringify(userId);

/** Nothing where the entry is damaged (QUEUE-15). */
function parsed(text: string | undefined): NotificationEvent[] {
  try {
    const event = JSON.parse(text ?? '');
    return typeof event?.eventType === 'string' ? [event] : [];
  } catch {
    return [];
  }
}
