// Whether the process serves, and whether its store answers (SPEC 8).

import { All, Controller, Get } from '@nestjs/common';

import { RedisService } from '../redis.service.js';
import { Problem, stored } from './problem.filter.js';

@Controller()
export class HealthController {
  constructor(private readonly redis: RedisService) {}

  @Get('healthz')
  alive(): object {
    return { status: 'ok' };
  }

  @Get('readyz')
  async ready(): Promise<object> {
    await stored(this.redis.ping());
    return { status: 'ready' };
  }

  @All(['healthz', 'readyz'])
  otherMethod(): never {
    throw new Problem(405, 'this route takes GET', {}, { allow: 'GET' });
  }
}
