// What an event is, on its way in and on its way out (SPEC 4).

export const NOTIFICATION_EVENT_TYPES = ['record.accessed', 'access.granted', 'access.revoked', 'record.uploaded'] as const;

export type NotificationEventType = (typeof NOTIFICATION_EVENT_TYPES)[number];

export type NotificationMetadata = Record<string, unknown>;

/** What an emitter says. */
export interface NotificationDraft {
  eventType: NotificationEventType;
  actorId: string;
  resourceId: string;
  metadata?: NotificationMetadata | undefined;
}

/** What a client receives. */
export interface NotificationEvent extends NotificationDraft {
  /** A UUID of version 7 (EVENT-08). */
  eventId: string;
  /** As `Date.prototype.toISOString` writes it (EVENT-04). */
  timestamp: string;
  metadata: NotificationMetadata;
}

/** `live` where it was handed to connected devices, `queued` where it waits for the next one. */
export type Delivery = 'live' | 'queued';

/** What became of a draft. */
export interface NotificationReceipt {
  eventId: string;
  delivery: Delivery;
}
