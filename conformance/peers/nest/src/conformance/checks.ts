// What a body has to look like; the first thing that is wrong is named (EMIT-04, EMIT-08, EMIT-09).

import { NOTIFICATION_EVENT_TYPES, type NotificationDraft } from '../notifications/interfaces/notification-event.interface.js';
import { Problem } from './problem.filter.js';

const BATCH_EVENTS = 1_000;
const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})$/;

/** `where` stands before the names of members. */
export function draftFrom(body: unknown, where = ''): NotificationDraft {
  const { eventType, actorId, resourceId, metadata } = members(body, ['eventType', 'actorId', 'resourceId', 'metadata'], where);
  const type = NOTIFICATION_EVENT_TYPES.find((known) => known === eventType);
  if (!type) bad(`${where}eventType must be one of ${NOTIFICATION_EVENT_TYPES.join(', ')}`);
  if (metadata !== undefined && !isObject(metadata)) bad(`${where}metadata must be an object`);
  return { eventType: type, actorId: text(actorId, `${where}actorId`), resourceId: text(resourceId, `${where}resourceId`), metadata };
}

export function draftsFrom(body: unknown): NotificationDraft[] {
  if (!Array.isArray(body)) bad('a batch is an array of events');
  if (body.length < 1 || body.length > BATCH_EVENTS) bad(`a batch has 1 to ${BATCH_EVENTS} events`);
  return body.map((event, at) => draftFrom(event, `[${at}].`));
}

export function sessionFrom(body: unknown): { userId: string; expiresAt?: Date } {
  const { userId, expiresAt } = members(body, ['userId', 'expiresAt'], '');
  if (expiresAt === undefined) return { userId: text(userId, 'userId') };
  const time = typeof expiresAt === 'string' && RFC_3339.test(expiresAt) ? Date.parse(expiresAt.toUpperCase()) : NaN;
  if (Number.isNaN(time)) bad('expiresAt must be a time in RFC 3339');
  return { userId: text(userId, 'userId'), expiresAt: new Date(time) };
}

function members(body: unknown, known: string[], where: string): Record<string, unknown> {
  if (!isObject(body)) bad(`${where.slice(0, -1) || 'the body'} must be an object`);
  const unknown = Object.keys(body).find((name) => !known.includes(name));
  if (unknown !== undefined) bad(`${where}${unknown} is not a known member`);
  return body;
}

function text(value: unknown, name: string): string {
  return typeof value === 'string' && value !== '' ? value : bad(`${name} must be a non-empty string`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function bad(detail: string): never {
  throw new Problem(400, detail);
}
