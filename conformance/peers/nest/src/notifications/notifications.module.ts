// The module that an application imports; it exports what events are emitted by.

import { Module } from '@nestjs/common';

import { SessionsModule } from '../sessions/sessions.module.js';
import { WsAuthGuard } from './guards/ws-auth.guard.js';
import { NotificationsGateway } from './notifications.gateway.js';
import { NotificationQueueService } from './services/notification-queue.service.js';
import { NotificationsService } from './services/notifications.service.js';
import { UserTurns } from './services/user-turns.service.js';

@Module({
  imports: [SessionsModule],
  providers: [NotificationsGateway, NotificationsService, NotificationQueueService, UserTurns, WsAuthGuard],
  exports: [NotificationsService],
})
export class NotificationsModule {}
