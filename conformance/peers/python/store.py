"""What lives in Redis: sessions, queues, and what became of repeated requests. The only file that knows a key.

A queue is a stream: the id of an entry is the time at which it came, so each event ages by itself (QUEUE-07) and is removed by name.
"""

import json
import time
from collections.abc import Iterable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from settings import Settings

#: What a call fails with where Redis is away.
StoreError = RedisError

TIMEOUT_SECONDS = 2
CONNECTIONS = 16
NOTES_KEPT_MS = 86_400_000


class Store:
    def __init__(self, settings: Settings) -> None:
        self._max_events = settings.queue_max_events
        self._ttl_ms = settings.queue_ttl_ms
        # The usual pool fails whoever comes when it is empty; this one has them wait.
        pool = BlockingConnectionPool(
            host=settings.redis_host,
            port=settings.redis_port,
            password=settings.redis_password,
            db=settings.redis_db,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            # By itself the library asks again, also after a time-out: what was appended and not answered would come twice.
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)

    async def ping(self) -> None:
        await self._redis.ping()

    async def close(self) -> None:
        await self._redis.aclose()

    async def put_session(self, session_id: str, user_id: str, expires_at_ms: int | None) -> None:
        """Creates or replaces; what lies in the past is deleted by Redis."""
        await self._redis.set(_key("session", session_id), json.dumps(user_id), pxat=expires_at_ms)

    async def revoke_session(self, session_id: str) -> bool:
        """Whether there was one."""
        return await self._redis.delete(_key("session", session_id)) > 0

    async def owner_of(self, session_id: str) -> str | None:
        owner = await self._redis.get(_key("session", session_id))
        return None if owner is None else json.loads(owner)

    async def append(self, user_id: str, payloads: list[dict[str, Any]]) -> None:
        """Appends, cuts to the cap and sets the time to live in one step: the cap holds at every moment (QUEUE-05)."""
        key = _key("queue", user_id)
        async with self._redis.pipeline(transaction=True) as step:
            for payload in payloads[-self._max_events :]:
                step.xadd(key, {"event": json.dumps(payload)}, maxlen=self._max_events, approximate=False)
            step.pexpire(key, self._ttl_ms)
            await step.execute()

    async def read(self, user_id: str) -> tuple[list[bytes], list[dict[str, Any]]]:
        """The ids and the events that wait, oldest first. They stay: what was taken out to be sent would be lost with the process."""
        entries: Any = await self._redis.xrange(_key("queue", user_id), min=self._oldest())
        events = (_event(fields.get(b"event")) for _, fields in entries)
        return [entry_id for entry_id, _ in entries], [event for event in events if event is not None]

    async def remove(self, user_id: str, entry_ids: Iterable[bytes]) -> None:
        await self._redis.xdel(_key("queue", user_id), *entry_ids)

    async def sweep(self) -> None:
        """Takes out what is too old where newer events keep the key (QUEUE-31)."""
        async for key in self._redis.scan_iter(match="queue:*", count=1_000):
            await self._redis.xtrim(key, minid=str(self._oldest()), approximate=False)

    async def note(self, name: str) -> dict[str, Any] | None:
        """What was noted of a request with an Idempotency-Key."""
        noted = await self._redis.get(_key("note", name))
        return None if noted is None else json.loads(noted)

    async def keep_note(self, name: str, note: dict[str, Any]) -> None:
        await self._redis.set(_key("note", name), json.dumps(note), px=NOTES_KEPT_MS)

    def _oldest(self) -> int:
        """The first id that is not too old."""
        return time.time_ns() // 1_000_000 - self._ttl_ms


def _key(kind: str, name: str) -> str:
    # JSON tells unpaired surrogates apart, too, which have no UTF-8 (ROOM-05).
    return f"{kind}:{json.dumps(name)}"


def _event(text: bytes | None) -> dict[str, Any] | None:
    """Nothing where the entry is damaged (QUEUE-15)."""
    try:
        event = json.loads(text or b"")
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("eventType"), str) else None
