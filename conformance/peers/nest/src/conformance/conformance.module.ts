// What the suite needs to see from outside: events, sessions and health over HTTP (SPEC 6 and 8). An application that is to be checked
// takes this folder over, and imports the module where it is tested, not where it serves.

import { Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';

import { NotificationsModule } from '../notifications/notifications.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { EventsController } from './events.controller.js';
import { HealthController } from './health.controller.js';
import { IdempotencyService } from './idempotency.service.js';
import { ProblemFilter } from './problem.filter.js';
import { SessionsController } from './sessions.controller.js';

@Module({
  imports: [NotificationsModule, SessionsModule],
  controllers: [EventsController, SessionsController, HealthController],
  providers: [IdempotencyService, { provide: APP_FILTER, useClass: ProblemFilter }],
})
export class ConformanceModule {}
