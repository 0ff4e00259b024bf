// Which sessions there are, and whose (SPEC 2). Notifications only ask; whoever logs users in and out makes and revokes them.

import { Injectable } from '@nestjs/common';

import { RedisService } from '../redis.service.js';

@Injectable()
export class SessionManagementService {
  constructor(private readonly redis: RedisService) {}

  /** The user of a session that is neither revoked nor over. */
  ownerOf(sessionId: string): Promise<string | null> {
    return this.redis.get(keyOf(sessionId));
  }

  /** Makes or replaces a session. Redis ends it at `expiresAt`, and at no other time (AUTH-16). */
  async put(sessionId: string, userId: string, expiresAt?: Date): Promise<void> {
    if (expiresAt === undefined) await this.redis.set(keyOf(sessionId), userId);
    else if (expiresAt.getTime() <= Date.now()) await this.redis.del(keyOf(sessionId));
    else await this.redis.set(keyOf(sessionId), userId, 'PXAT', expiresAt.getTime());
  }

  /** Answers whether there was one. */
  async revoke(sessionId: string): Promise<boolean> {
    return (await this.redis.del(keyOf(sessionId))) > 0;
  }
}

// JSON tells apart what is no Unicode text, too; as UTF-8 all unpaired surrogates would be one letter.
const keyOf = (sessionId: string) => `session:${JSON.stringify(sessionId)}`;
