"""Lets clients in, hands events over and ends connections (SPEC 1 to 5, 17). Knows no HTTP route and no key of the store."""

import asyncio
import json
import logging
import secrets
import time
from collections import Counter, defaultdict
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal
from uuid import UUID
from weakref import WeakValueDictionary

import socketio
from engineio import packet as engine
from engineio.payload import Payload
from socketio import packet

from auth import identify, refuse
from settings import Settings
from store import Store, StoreError

NAMESPACE = "/notifications"
EVENT_TYPES = ("record.accessed", "access.granted", "access.revoked", "record.uploaded")
MAX_PAYLOAD_BYTES = 256 * 1024
# TRANS-09 allows 10 s.
CONNECT_SECONDS = 8
REFUSALS = 5
LOOK_SECONDS = 0.5
SWEEP_SECONDS = 30
# What clients cannot call an event. The library has no such list: `["connect", …]` would call the connect handler.
RESERVED = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

# The library would drop what is more in one POST, and answer 200.
Payload.max_decode_packets = 10_000
# The library's messages have ids of sessions and what clients sent (PRIV-01).
SILENT = logging.Logger("silent", logging.CRITICAL + 1)
# Python refuses whole numbers of more than 4,300 digits. None that a client sends is used (AUTH-29).
JSON = SimpleNamespace(loads=partial(json.loads, parse_int=float), dumps=json.dumps)

Delivery = Literal["live", "queued"]


@dataclass(frozen=True)
class Event:
    recipient: str
    payload: dict[str, Any]

    @classmethod
    def of(cls, event_type: str, actor_id: str, resource_id: str, metadata: dict[str, Any]) -> "Event":
        target = metadata.get("targetUserId")
        return cls(
            recipient=target if isinstance(target, str) and target else resource_id,
            payload={
                "eventId": uuid7(),
                "eventType": event_type,
                "actorId": actor_id,
                "resourceId": resource_id,
                "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "metadata": metadata,
            },
        )


@dataclass
class Arrival:
    """A CONNECT that is under way. Until it has ended it has the user's turn."""

    turn: AsyncExitStack = field(default_factory=AsyncExitStack)
    task: asyncio.Task[None] | None = None
    user_id: str = ""
    entry_ids: list[bytes] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)


class StrictPacket(packet.Packet):
    """Refuses what the library takes for a packet and is none (TRANS-06)."""

    def decode(self, encoded_packet: str) -> int:
        attachments = super().decode(encoded_packet)
        if not self._is_sound(attachments):
            raise ValueError("no packet of Socket.IO")
        return attachments

    @classmethod
    def reconstruct_binary(cls, data: Any, attachments: list[bytes]) -> Any:
        """No bytes that a client sends are used, and the numbers of their places are no whole ones here (`JSON`)."""
        return data

    def _is_sound(self, attachments: int) -> bool:
        kind, data = self.packet_type, self.data
        if (attachments > 0) != (kind in (packet.BINARY_EVENT, packet.BINARY_ACK)):
            return False
        if kind in (packet.EVENT, packet.BINARY_EVENT):
            is_named = isinstance(data, list) and data and type(data[0]) in (str, float)
            return bool(is_named and data[0] not in RESERVED)
        if kind in (packet.ACK, packet.BINARY_ACK):
            return isinstance(data, list)
        return data is None or (kind == packet.CONNECT and isinstance(data, dict))


class Clients(socketio.AsyncManager):
    """Tells the server when a client is in. The library's connect handler runs before that: what it sends overtakes the CONNECT."""

    async def connect(self, sid: str, namespace: str) -> None:
        await super().connect(sid, namespace)
        await self.server.welcome(sid)


class NotificationServer(socketio.AsyncServer):
    def __init__(self, settings: Settings, store: Store) -> None:
        super().__init__(
            async_mode="asgi",
            client_manager=Clients(),
            serializer=StrictPacket,
            json=JSON,
            # By default everybody is let in to "/", without a handler (TRANS-05).
            namespaces=[NAMESPACE],
            async_handlers=False,
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_timeout,
            # The library looks at a client once in `ping_timeout`, which may be as late again (HEART-02).
            monitor_clients=False,
            max_http_buffer_size=MAX_PAYLOAD_BYTES,
            http_compression=False,
            # The gate looks at them.
            cors_allowed_origins=[],
            logger=SILENT,
            engineio_logger=SILENT,
        )
        self._secret = settings.jwt_secret
        self._store = store
        # One thing at a time for each user: a queue that is being delivered and new events never cross (QUEUE-11, QUEUE-13).
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # Connections that end soon, since nobody is in.
        self._ending: dict[str, asyncio.Task[None]] = {}
        # CONNECTs that are under way, and how many were refused since the last that was accepted (LIMIT-03).
        self._arriving: dict[str, Arrival] = {}
        self._refused: Counter[str] = Counter()
        self.on("connect", self._admit, namespace=NAMESPACE)
        self.on("disconnect", self._left, namespace=NAMESPACE)
        self.on("ping", lambda _sid, *_args: "pong", namespace=NAMESPACE)

    async def emit_all(self, events: list[Event]) -> list[Delivery | None]:
        """How each event was accepted, or None where it could be neither handed over nor stored (EMIT-22)."""
        by_user: defaultdict[str, list[Event]] = defaultdict(list)
        for event in events:
            by_user[event.recipient].append(event)
        deliveries = await asyncio.gather(*(self._deliver(user_id, theirs) for user_id, theirs in by_user.items()))
        of_user = dict(zip(by_user, deliveries, strict=True))
        return [of_user[event.recipient] for event in events]

    async def _deliver(self, user_id: str, events: list[Event]) -> Delivery | None:
        async with self._turn(user_id):
            # `emit` does not tell whether somebody took it. Between this look and the handing over nothing else runs.
            participants = self.manager.get_participants(NAMESPACE, _room(user_id))
            devices = [eio_sid for _, eio_sid in participants if self._is_open(eio_sid)]
            if not devices:
                try:
                    await self._store.append(user_id, [event.payload for event in events])
                except StoreError:
                    return None
                return "queued"
            for event in events:
                self._hand_over(devices, event.payload["eventType"], event.payload)
            return "live"

    async def welcome(self, sid: str) -> None:
        """The client is in. What waits was read before; it is handed over, and only then removed."""
        eio_sid = self.manager.eio_sid_from_sid(sid, NAMESPACE)
        self._cancel_end(eio_sid)
        arrival = self._arriving[eio_sid]
        if not self._is_open(eio_sid):
            return
        if arrival.events:
            self._hand_over([eio_sid], "queued.events", arrival.events)
        await self.enter_room(sid, _room(arrival.user_id), NAMESPACE)
        if arrival.entry_ids:
            # Where this fails they come once more, which is better than never.
            with suppress(StoreError):
                await self._store.remove(arrival.user_id, arrival.entry_ids)

    async def end(self, eio_sid: str | None) -> None:
        """Closes a connection. The library's own `disconnect` waits for a client to poll, and for one to close its WebSocket."""
        socket = self.eio.sockets.get(eio_sid)
        if socket is not None and not socket.closing:
            await socket.close(wait=False)
            await socket.queue.put(None)

    def can_upgrade(self, eio_sid: str) -> bool:
        return self._is_open(eio_sid) and self.eio.transport(eio_sid) == "polling"

    async def watch(self) -> None:
        """Closes who does not answer pings, and sweeps queues, for as long as the server runs."""
        swept = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for eio_sid, socket in list(self.eio.sockets.items()):
                if socket.closed:
                    self.eio.sockets.pop(eio_sid, None)
                elif socket.last_ping and time.time() - socket.last_ping > self.eio.ping_timeout:
                    await self.end(eio_sid)
            if time.monotonic() - swept > SWEEP_SECONDS:
                swept = time.monotonic()
                with suppress(StoreError):
                    await self._store.sweep()

    async def _admit(self, sid: str, environ: dict[str, Any], auth: object) -> None:
        identity = identify(auth, environ, self._secret)
        arrival = self._arriving[self.manager.eio_sid_from_sid(sid, NAMESPACE)]
        arrival.user_id = identity.user_id
        try:
            owner = await self._store.owner_of(identity.session_id)
            if owner != identity.user_id:
                refuse("session_invalid")
            await arrival.turn.enter_async_context(self._turn(identity.user_id))
            arrival.entry_ids, arrival.events = await self._store.read(identity.user_id)
        except StoreError:
            refuse("unavailable")

    def _left(self, sid: str, _reason: str) -> None:
        """A client that leaves the namespace would keep its connection (TRANS-14)."""
        self._end_soon(self.manager.eio_sid_from_sid(sid, NAMESPACE))

    def _turn(self, user_id: str) -> asyncio.Lock:
        return self._turns.setdefault(user_id, asyncio.Lock())

    def _is_open(self, eio_sid: str) -> bool:
        socket = self.eio.sockets.get(eio_sid)
        return socket is not None and not socket.closing and not socket.closed

    def _hand_over(self, devices: list[str], name: str, argument: object) -> None:
        encoded = self.packet_class(packet.EVENT, data=[name, argument], namespace=NAMESPACE, binary=False).encode()
        for eio_sid in devices:
            self.eio.sockets[eio_sid].queue.put_nowait(engine.Packet(engine.MESSAGE, encoded))

    def _end_soon(self, eio_sid: str) -> None:
        async def end() -> None:
            await asyncio.sleep(CONNECT_SECONDS)
            self._ending.pop(eio_sid, None)
            await self.end(eio_sid)

        self._cancel_end(eio_sid)
        self._ending[eio_sid] = asyncio.create_task(end())

    def _cancel_end(self, eio_sid: str) -> None:
        if task := self._ending.pop(eio_sid, None):
            task.cancel()

    # What follows extends what the library does with a packet: it has no other place for that.

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        self._end_soon(eio_sid)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        await super()._handle_eio_disconnect(eio_sid, reason)
        self._cancel_end(eio_sid)
        self._refused.pop(eio_sid, None)

    async def _handle_eio_message(self, eio_sid: str, data: object) -> None:
        """The library writes an error to the log, and goes on (TRANS-06)."""
        try:
            if not isinstance(data, bytes if eio_sid in self._binary_packet else str):
                raise ValueError("no packet of Socket.IO")
            await super()._handle_eio_message(eio_sid, data)
        except Exception:
            await self.end(eio_sid)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: object) -> None:
        """Not waited for: meanwhile the library would not read, nor see that the client has gone (QUEUE-01)."""
        namespace = namespace or "/"
        if namespace != NAMESPACE:
            await super()._handle_connect(eio_sid, namespace, data)
            await self._count(eio_sid, is_in=False)
        elif self.manager.sid_from_eio_sid(eio_sid, NAMESPACE) is not None or eio_sid in self._arriving:
            await self.end(eio_sid)  # TRANS-08; the library answers.
        else:
            arrival = self._arriving[eio_sid] = Arrival()
            arrival.task = asyncio.create_task(self._arrive(eio_sid, arrival, data))

    async def _arrive(self, eio_sid: str, arrival: Arrival, data: object) -> None:
        async with arrival.turn:
            try:
                await super()._handle_connect(eio_sid, NAMESPACE, data)
            except Exception:
                await self.end(eio_sid)
        del self._arriving[eio_sid]
        sid = self.manager.sid_from_eio_sid(eio_sid, NAMESPACE)
        if self._is_open(eio_sid):
            await self._count(eio_sid, is_in=sid is not None)
        else:
            await self.manager.disconnect(sid, NAMESPACE)

    async def _count(self, eio_sid: str, is_in: bool) -> None:
        """LIMIT-03."""
        self._refused[eio_sid] = 0 if is_in else self._refused[eio_sid] + 1
        if self._refused[eio_sid] == REFUSALS:
            await self.end(eio_sid)

    async def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        """The library passes over it until the client is in."""
        arrival = self._arriving.get(eio_sid)
        if reason == self.reason.CLIENT_DISCONNECT and arrival and arrival.task:
            await arrival.task
        await super()._handle_disconnect(eio_sid, namespace, reason)

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: list[Any]) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or "/")
        if not self.manager.is_connected(sid, namespace or "/"):
            await self.end(eio_sid)  # TRANS-07; the library passes over it.
            return
        await super()._handle_event(eio_sid, namespace, id, data)


def _room(user_id: str) -> str:
    """Each client has a room by its sid: no user's may be called so."""
    return f"user:{user_id}"


def uuid7() -> str:
    """Python has it from 3.14 on."""
    milliseconds = time.time_ns() // 1_000_000
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)))
