"""Puts the parts together and serves until it is told to stop."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette

from control import Control
from gate import Gate
from notifications import MAX_PAYLOAD_BYTES, NotificationServer
from origins import Origins
from settings import Settings
from store import Store


def build(settings: Settings) -> Gate:
    store = Store(settings)
    sockets = NotificationServer(settings, store)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(sockets.watch())
        yield
        watch.cancel()
        await store.close()

    return Gate(sockets, Control(settings.ingest_token, store, sockets).app(lifespan), Origins(settings.origins))


def main() -> None:
    settings = Settings.from_environment()
    # What uvicorn and asyncio would write of errors has stacks, and what clients sent (AUTH-24, PRIV-01).
    logging.disable(logging.CRITICAL)
    print(f"serving on port {settings.port}", flush=True)
    uvicorn.run(
        build(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        ws="websockets-sansio",
        ws_max_size=MAX_PAYLOAD_BYTES,
        # Engine.IO has a heartbeat of its own.
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        # HEART-06.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
