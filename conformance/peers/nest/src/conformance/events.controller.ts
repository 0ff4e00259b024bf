// Emits what comes over HTTP, alone and in batches (SPEC 6).

import { All, Body, Controller, Headers, HttpCode, Post, Req, UseGuards, UseInterceptors } from '@nestjs/common';

import type { NotificationDraft, NotificationReceipt } from '../notifications/interfaces/notification-event.interface.js';
import { NotificationsService } from '../notifications/services/notifications.service.js';
import { draftFrom, draftsFrom } from './checks.js';
import type { Request } from './http.js';
import { IdempotencyService, type Accepted } from './idempotency.service.js';
import { JsonBody } from './json-body.interceptor.js';
import { Problem } from './problem.filter.js';
import { ServiceCredentialGuard } from './service-credential.guard.js';

const EVENT_BYTES = 64 * 1024;
const BATCH_BYTES = 4 * 1024 * 1024;

@Controller('events')
export class EventsController {
  constructor(
    private readonly notifications: NotificationsService,
    private readonly idempotency: IdempotencyService,
  ) {}

  @Post()
  @HttpCode(202)
  @UseGuards(ServiceCredentialGuard)
  @UseInterceptors(JsonBody(EVENT_BYTES))
  async one(@Body() body: unknown, @Req() request: Request, @Headers('idempotency-key') key?: string): Promise<NotificationReceipt> {
    const [receipt] = await this.emit('events', [draftFrom(body)], request, key);
    return receipt!;
  }

  @Post('batch')
  @HttpCode(202)
  @UseGuards(ServiceCredentialGuard)
  @UseInterceptors(JsonBody(BATCH_BYTES))
  batch(@Body() body: unknown, @Req() request: Request, @Headers('idempotency-key') key?: string): Promise<NotificationReceipt[]> {
    return this.emit('events/batch', draftsFrom(body), request, key);
  }

  @All(['', 'batch'])
  otherMethod(): never {
    throw new Problem(405, 'this route takes POST', {}, { allow: 'POST' });
  }

  /** Answers for all, or fails with what was accepted (EMIT-22). */
  private async emit(route: string, drafts: NotificationDraft[], { rawBody }: Request, key?: string): Promise<NotificationReceipt[]> {
    const emitRest = (before: Accepted) => this.emitRest(drafts, before);
    const accepted = key === undefined ? await emitRest({}) : await this.idempotency.once(route, key, rawBody!, emitRest);
    const receipts = Object.entries(accepted).map(([index, receipt]) => ({ index: Number(index), ...receipt }));
    if (receipts.length < drafts.length) throw new Problem(503, 'the store does not answer', { accepted: receipts });
    return receipts.map(({ eventId, delivery }) => ({ eventId, delivery }));
  }

  /** Emits what was not accepted before; what is returned is all that is accepted by now, in the order of the request. */
  private async emitRest(drafts: NotificationDraft[], before: Accepted): Promise<Accepted> {
    const rest = [...drafts.keys()].filter((index) => !(index in before));
    const results = await this.notifications.emitAll(rest.map((index) => drafts[index]!));
    const accepted = { ...before };
    results.forEach((result, at) => {
      if (result.status === 'fulfilled') accepted[rest[at]!] = result.value;
    });
    return accepted;
  }
}
