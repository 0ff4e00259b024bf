// Who is let in, what a device finds when it connects, and which devices a user has (SPEC 1 to 5).

import {
  SubscribeMessage,
  WebSocketGateway,
  WebSocketServer,
  type OnGatewayConnection,
  type OnGatewayDisconnect,
  type OnGatewayInit,
} from '@nestjs/websockets';
import type { DefaultEventsMap, Namespace, Socket as AnySocket } from 'socket.io';

import { Settings } from '../settings.js';
import { limitConnects, limitEvents } from './connection-limits.js';
import { refuse, WsAuthGuard, type Identity } from './guards/ws-auth.guard.js';
import type { NotificationEvent } from './interfaces/notification-event.interface.js';
import { CONNECT_TIMEOUT_MS } from './notifications.adapter.js';
import { NotificationQueueService, type Waiting } from './services/notification-queue.service.js';
import { UserTurns } from './services/user-turns.service.js';

interface SocketData extends Identity {
  /** Until the client is in: what it finds in its queue, and whom to tell. */
  arrival?: { waiting: Waiting; isIn: () => void } | undefined;
}

type Socket = AnySocket<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, SocketData>;
type Connection = Socket['conn'];

@WebSocketGateway({ namespace: '/notifications' })
export class NotificationsGateway implements OnGatewayInit, OnGatewayConnection, OnGatewayDisconnect {
  /** Of a gateway with a namespace this is the namespace, and no server: what has the rooms is `adapter`, not `sockets.adapter`. */
  @WebSocketServer()
  private readonly namespace!: Namespace;
  /** When connections are closed whose client has left the namespace. */
  private readonly left = new WeakMap<Connection, NodeJS.Timeout>();

  constructor(
    private readonly settings: Settings,
    private readonly guard: WsAuthGuard,
    private readonly queue: NotificationQueueService,
    private readonly turns: UserTurns,
  ) {}

  /** Whoever is to be kept out has to be kept out here: when `handleConnection` runs the client has been told that it is in. */
  afterInit(namespace: Namespace): void {
    namespace.use(limitConnects((socket, next) => this.admit(socket, next)));
  }

  /** Runs in the same step as the CONNECT is answered; the room is joined before anything else can happen. */
  handleConnection(socket: Socket): void {
    const { userId, arrival } = socket.data;
    // Else what was in the queue would stay in memory for as long as the connection.
    socket.data.arrival = undefined;
    clearTimeout(this.left.get(socket.conn));
    limitEvents(socket, this.settings.limits.eventsPerSecond);
    void socket.join(roomOf(userId));
    if (!arrival) return;
    if (arrival.waiting.events.length > 0) socket.emit('queued.events', arrival.waiting.events);
    socket.conn.off('close', arrival.isIn);
    arrival.isIn();
  }

  /** A client that leaves the namespace would keep its connection (TRANS-14). */
  handleDisconnect({ conn }: Socket, reason?: string): void {
    if (reason !== 'client namespace disconnect') return;
    this.left.set(conn, setTimeout(() => conn.close(), CONNECT_TIMEOUT_MS).unref());
  }

  /** Nest acknowledges with what is returned, where an acknowledgement was asked for (EVENT-11, EVENT-32). */
  @SubscribeMessage('ping')
  ping(): string {
    return 'pong';
  }

  /** Whether some device can be sent something. One that is about to be closed cannot, though it still is in its room. */
  isConnected(userId: string): boolean {
    return [...this.devicesOf(userId)].some((id) => this.namespace.sockets.get(id)?.conn.readyState === 'open');
  }

  send(userId: string, event: NotificationEvent): void {
    this.namespace.to(roomOf(userId)).emit(event.eventType, event);
  }

  /**
   * Takes the user's turn until the client is in and has its queue: an event that comes meanwhile waits, and is live behind it (QUEUE-11).
   * Reads, hands over, and only then removes: by the other way round a connection that breaks would cost the queue.
   */
  private async admit(socket: Socket, next: () => void): Promise<void> {
    const identity = await this.guard.authenticate(socket.handshake);
    const { userId } = identity;
    await this.turns.take(userId, async () => {
      const waiting = await this.queue.read(userId).catch(() => refuse('unavailable'));
      if (socket.conn.readyState !== 'open' || this.devicesOf(userId).size >= this.settings.limits.devices) refuse('unavailable');
      await new Promise<void>((isIn) => {
        socket.data = { ...identity, arrival: { waiting, isIn } };
        // It may be closed before it is in, and then it never is.
        socket.conn.once('close', isIn);
        next();
      });
      // Where this fails they come once more, which is better than never.
      if (socket.connected && waiting.ids.length > 0) await this.queue.remove(userId, waiting.ids).catch(() => {});
    });
  }

  private devicesOf(userId: string): ReadonlySet<string> {
    return this.namespace.adapter.rooms.get(roomOf(userId)) ?? new Set();
  }
}

/** Each socket has a room by its id: no user's may be called so. */
const roomOf = (userId: string) => `user:${userId}`;
