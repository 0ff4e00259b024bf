// The connection to Redis, and how long anybody waits for it. Knows no key.

import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Redis } from 'ioredis';

import { Settings } from './settings.js';

/** For so long Redis may be silent before it counts as away. */
const TIMEOUT_MS = 2_000;
const RECONNECT_MS = 200;

@Injectable()
export class RedisService extends Redis implements OnApplicationShutdown {
  constructor(settings: Settings) {
    super({
      ...settings.redis,
      // Whoever asks while Redis is away is told so, and does not wait for its return.
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: TIMEOUT_MS,
      connectTimeout: TIMEOUT_MS,
      retryStrategy: () => RECONNECT_MS,
    });
    // Each command that fails says so to whoever gave it; without a listener the process would end.
    this.on('error', () => {});
  }

  onApplicationShutdown(): void {
    this.disconnect();
  }
}
