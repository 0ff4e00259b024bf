// Stands for the application's own module of sessions.

import { Module } from '@nestjs/common';

import { SessionManagementService } from './session-management.service.js';

@Module({ providers: [SessionManagementService], exports: [SessionManagementService] })
export class SessionsModule {}
