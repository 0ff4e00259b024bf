// What other modules emit by: an event goes to its recipient's devices, or into the queue where there are none (SPEC 3 to 5).

import { Injectable } from '@nestjs/common';
import { v7 as uuidv7 } from 'uuid';

import type {
  Delivery,
  NotificationDraft,
  NotificationEvent,
  NotificationMetadata,
  NotificationReceipt,
} from '../interfaces/notification-event.interface.js';
import { NotificationsGateway } from '../notifications.gateway.js';
import { NotificationQueueService } from './notification-queue.service.js';
import { UserTurns } from './user-turns.service.js';

/** Each method settles once the event is accepted, and fails where it could be neither handed over nor stored. */
@Injectable()
export class NotificationsService {
  constructor(
    private readonly gateway: NotificationsGateway,
    private readonly queue: NotificationQueueService,
    private readonly turns: UserTurns,
  ) {}

  emitRecordAccessed(actorId: string, resourceId: string, metadata?: NotificationMetadata): Promise<NotificationReceipt> {
    return this.emit({ eventType: 'record.accessed', actorId, resourceId, metadata });
  }

  emitAccessGranted(actorId: string, resourceId: string, metadata?: NotificationMetadata): Promise<NotificationReceipt> {
    return this.emit({ eventType: 'access.granted', actorId, resourceId, metadata });
  }

  emitAccessRevoked(actorId: string, resourceId: string, metadata?: NotificationMetadata): Promise<NotificationReceipt> {
    return this.emit({ eventType: 'access.revoked', actorId, resourceId, metadata });
  }

  emitRecordUploaded(actorId: string, resourceId: string, metadata?: NotificationMetadata): Promise<NotificationReceipt> {
    return this.emit({ eventType: 'record.uploaded', actorId, resourceId, metadata });
  }

  /** Several at once, in their order; each is accepted or fails for itself. */
  emitAll(drafts: readonly NotificationDraft[]): Promise<PromiseSettledResult<NotificationReceipt>[]> {
    const events = drafts.map(eventOf);
    const deliveries = new Map<NotificationEvent, Promise<Delivery>>();
    for (const [userId, theirs] of byRecipient(events)) {
      const delivery = this.turns.take(userId, () => this.handOver(userId, theirs));
      for (const event of theirs) deliveries.set(event, delivery);
    }
    return Promise.allSettled(events.map(async (event) => ({ eventId: event.eventId, delivery: await deliveries.get(event)! })));
  }

  private async emit(draft: NotificationDraft): Promise<NotificationReceipt> {
    const [result] = await this.emitAll([draft]);
    if (result?.status === 'fulfilled') return result.value;
    throw result?.reason;
  }

  /** Within the user's turn: between the question and what follows from it nobody connects. */
  private async handOver(userId: string, events: readonly NotificationEvent[]): Promise<Delivery> {
    if (!this.gateway.isConnected(userId)) {
      await this.queue.append(userId, events);
      return 'queued';
    }
    for (const event of events) this.gateway.send(userId, event);
    return 'live';
  }
}

function eventOf({ eventType, actorId, resourceId, metadata = {} }: NotificationDraft): NotificationEvent {
  return { eventId: uuidv7(), eventType, actorId, resourceId, timestamp: new Date().toISOString(), metadata };
}

/** EVENT-09 and EVENT-10. */
function recipientOf({ resourceId, metadata: { targetUserId } }: NotificationEvent): string {
  return typeof targetUserId === 'string' && targetUserId !== '' ? targetUserId : resourceId;
}

function byRecipient(events: readonly NotificationEvent[]): Map<string, NotificationEvent[]> {
  const groups = new Map<string, NotificationEvent[]>();
  for (const event of events) {
    const group = groups.get(recipientOf(event));
    if (group) group.push(event);
    else groups.set(recipientOf(event), [event]);
  }
  return groups;
}
