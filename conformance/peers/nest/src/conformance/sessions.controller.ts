// Makes and revokes sessions, as whoever logs users in and out would (SPEC 6).

import { All, Body, Controller, Delete, HttpCode, Param, Put, UseGuards, UseInterceptors } from '@nestjs/common';

import { SessionManagementService } from '../sessions/session-management.service.js';
import { sessionFrom } from './checks.js';
import { JsonBody } from './json-body.interceptor.js';
import { Problem, stored } from './problem.filter.js';
import { ServiceCredentialGuard } from './service-credential.guard.js';

const SESSION_BYTES = 64 * 1024;

@Controller('sessions/:id')
export class SessionsController {
  constructor(private readonly sessions: SessionManagementService) {}

  @Put()
  @HttpCode(204)
  @UseGuards(ServiceCredentialGuard)
  @UseInterceptors(JsonBody(SESSION_BYTES))
  async put(@Param('id') id: string, @Body() body: unknown): Promise<void> {
    const { userId, expiresAt } = sessionFrom(body);
    await stored(this.sessions.put(id, userId, expiresAt));
  }

  @Delete()
  @HttpCode(204)
  @UseGuards(ServiceCredentialGuard)
  async revoke(@Param('id') id: string): Promise<void> {
    if (!(await stored(this.sessions.revoke(id)))) throw new Problem(404, 'there is no such session');
  }

  @All()
  otherMethod(): never {
    throw new Problem(405, 'this route takes PUT and DELETE', {}, { allow: 'PUT, DELETE' });
  }
}
