// What became of requests with an Idempotency-Key, so that one that is repeated emits once (EMIT-06, EMIT-15, EMIT-18 to EMIT-23).

import { createHash } from 'node:crypto';

import { Injectable, type OnModuleDestroy } from '@nestjs/common';

import type { NotificationReceipt } from '../notifications/interfaces/notification-event.interface.js';
import { RedisService } from '../redis.service.js';
import { Problem, stored } from './problem.filter.js';

/** What was accepted, by its index in the request. */
export type Accepted = Record<number, NotificationReceipt>;

/** Of the first request with a key: the digest of its body, and what was accepted of it by now. */
interface Note {
  body: string;
  accepted: Accepted;
}

const KEPT_MS = 86_400_000;
const RETRY_MS = 1_000;

@Injectable()
export class IdempotencyService implements OnModuleDestroy {
  private readonly inHand = new Set<string>();
  /** What Redis could not be told; it is tried again, and counts meanwhile. */
  private readonly untold = new Map<string, Note>();
  private readonly retries = setInterval(() => [...this.untold.keys()].forEach((key) => void this.tell(key)), RETRY_MS);

  constructor(private readonly redis: RedisService) {}

  onModuleDestroy(): void {
    clearInterval(this.retries);
  }

  /** Does the work that is left of a request, with what was accepted of it before, and notes what is accepted now. */
  async once(route: string, key: string, rawBody: Buffer, work: (before: Accepted) => Promise<Accepted>): Promise<Accepted> {
    if (key.length < 1 || key.length > 255) throw new Problem(400, 'Idempotency-Key must have 1 to 255 characters');
    const name = `conformance:used:${route} ${key}`;
    if (this.inHand.has(name)) throw new Problem(409, 'a request with this Idempotency-Key is in hand', {}, { 'retry-after': '1' });
    this.inHand.add(name);
    try {
      const body = createHash('sha256').update(rawBody).digest('hex');
      const before = this.untold.get(name) ?? (await stored(this.noted(name)));
      if (before && before.body !== body) throw new Problem(422, 'this Idempotency-Key was used with another body');
      const accepted = await work(before?.accepted ?? {});
      if (Object.keys(accepted).length > Object.keys(before?.accepted ?? {}).length) {
        this.untold.set(name, { body, accepted });
        await this.tell(name);
      }
      return accepted;
    } finally {
      this.inHand.delete(name);
    }
  }

  private async noted(name: string): Promise<Note | null> {
    return JSON.parse((await this.redis.get(name)) ?? 'null');
  }

  private async tell(name: string): Promise<void> {
    const note = this.untold.get(name);
    try {
      await this.redis.set(name, JSON.stringify(note), 'PX', KEPT_MS);
      if (this.untold.get(name) === note) this.untold.delete(name);
    } catch {
      // It is tried again.
    }
  }
}
