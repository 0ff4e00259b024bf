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

import { WsAuthGuard, type Identity } from './guards/ws-auth.guard.js';
import type { NotificationEvent } from './interfaces/notification-event.interface.js';
import { CONNECT_TIMEOUT_MS } from './notifications.adapter.js';
import { NotificationQueueService } from './services/notification-queue.service.js';
import { UserTurns } from './services/user-turns.service.js';

type Socket = AnySocket<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, Identity>;
type Connection = Socket['conn'];

@WebSocketGateway({ namespace: '/notifications' })
export class NotificationsGateway implements OnGatewayInit, OnGatewayConnection, OnGatewayDisconnect {
  /** Of a gateway with a namespace this is the namespace, and no server: what has the rooms is `adapter`, not `sockets.adapter`. */
  @WebSocketServer()
  private readonly namespace!: Namespace;
  /** Connections whose client has left the namespace, and when they are closed. */
  private readonly left = new Map<Connection, NodeJS.Timeout>();

  constructor(
    private readonly guard: WsAuthGuard,
    private readonly queue: NotificationQueueService,
    private readonly turns: UserTurns,
  ) {}

  afterInit(namespace: Namespace): void {
    namespace.use((socket, next) => {
      this.guard.authenticate(socket.handshake).then((identity) => {
        socket.data = identity;
        next();
      }, next);
    });
  }

  /**
   * Runs as the CONNECT is answered, and so takes the user's turn before anybody can know of the client: an event that comes from now on
   * waits until the queue was delivered, and is live (QUEUE-11).
   */
  handleConnection(socket: Socket): void {
    clearTimeout(this.left.get(socket.conn));
    const { userId } = socket.data;
    // Without its queue a client must not stay: its next connect finds what this one could not.
    this.turns.take(userId, () => this.welcome(socket, userId)).catch(() => socket.conn.close());
  }

  /** A client that leaves the namespace would keep its connection (TRANS-14). */
  handleDisconnect({ conn }: Socket, reason?: string): void {
    if (reason !== 'client namespace disconnect') return;
    this.left.set(conn, setTimeout(() => conn.close(), CONNECT_TIMEOUT_MS));
    conn.once('close', () => {
      clearTimeout(this.left.get(conn));
      this.left.delete(conn);
    });
  }

  /** Nest acknowledges with what is returned, where an acknowledgement was asked for (EVENT-11, EVENT-32). */
  @SubscribeMessage('ping')
  ping(): string {
    return 'pong';
  }

  /** Whether some device can be sent something. One that is about to be closed cannot, though it still is in its room. */
  isConnected(userId: string): boolean {
    const ids = this.namespace.adapter.rooms.get(roomOf(userId)) ?? [];
    return [...ids].some((id) => this.namespace.sockets.get(id)?.conn.readyState === 'open');
  }

  send(userId: string, event: NotificationEvent): void {
    this.namespace.to(roomOf(userId)).emit(event.eventType, event);
  }

  /** Reads, hands over, and only then removes: by the other way round a connection that breaks would cost the queue. */
  private async welcome(socket: Socket, userId: string): Promise<void> {
    const { ids, events } = await this.queue.read(userId);
    if (!socket.connected || socket.conn.readyState !== 'open') return;
    await socket.join(roomOf(userId));
    if (events.length > 0) socket.emit('queued.events', events);
    // Where this fails they come once more, which is better than never.
    if (ids.length > 0) await this.queue.remove(userId, ids).catch(() => {});
  }
}

/** Each socket has a room by its id: no user's may be called so. */
const roomOf = (userId: string) => `user:${userId}`;
