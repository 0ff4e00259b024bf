"""The control surface: events, sessions and health over HTTP (SPEC 6 and 8)."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from http import HTTPStatus
from secrets import compare_digest
from typing import Any, NoReturn

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from notifications import EVENT_TYPES, Event, NotificationServer
from store import Store, StoreError

EVENT_BYTES = 64 * 1024
BATCH_BYTES = 4 * 1024 * 1024
BATCH_EVENTS = 1_000
# Reading and writing JSON takes a call for each level.
DEPTH = 200
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)

#: By their index in the request.
Receipts = dict[str, dict[str, str]]


class Problem(HTTPException):
    """An answer that is a problem document (RFC 9457), with further members."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(status, detail, headers)
        self.members = members


def bad(detail: str) -> NoReturn:
    raise Problem(400, detail)


@contextmanager
def stored() -> Iterator[None]:
    """What the store could not do is told as 503, and not why (AUTH-24)."""
    try:
        yield
    except StoreError:
        raise Problem(503, "the store does not answer") from None


class Control:
    """The routes as a Starlette application."""

    def __init__(self, credential: str, store: Store, sockets: NotificationServer) -> None:
        self._credential = f"Bearer {credential}".encode()
        self._store = store
        self._sockets = sockets
        self._in_hand: set[str] = set()
        # What the store could not be told; it counts, and is told again when it is asked for.
        self._untold: dict[str, dict[str, Any]] = {}

    def app(self, lifespan: Callable[[Starlette], Any]) -> Starlette:
        routes = [
            Route("/events", self._event, methods=["POST"]),
            Route("/events/batch", self._batch, methods=["POST"]),
            Route("/sessions/{id}", self._session, methods=["PUT", "DELETE"]),
            Route("/healthz", self._alive),
            Route("/readyz", self._ready),
        ]
        app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: problem, Exception: problem})
        app.router.redirect_slashes = False
        return app

    async def _event(self, request: Request) -> Response:
        raw, body = await self._read(request, EVENT_BYTES)
        (receipt,) = await self._emit(request, raw, [event_of(body, "")])
        return JSONResponse(receipt, 202)

    async def _batch(self, request: Request) -> Response:
        raw, body = await self._read(request, BATCH_BYTES)
        if not isinstance(body, list) or not 1 <= len(body) <= BATCH_EVENTS:
            bad(f"a batch is an array of 1 to {BATCH_EVENTS} events")
        return JSONResponse(await self._emit(request, raw, [event_of(event, f"[{at}].") for at, event in enumerate(body)]), 202)

    async def _session(self, request: Request) -> Response:
        session_id = request.path_params["id"]
        if request.method == "DELETE":
            self._check_credential(request)
            with stored():
                was_there = await self._store.revoke_session(session_id)
            if not was_there:
                raise Problem(404, "there is no such session")
        else:
            _, body = await self._read(request, EVENT_BYTES)
            with stored():
                await self._store.put_session(session_id, *session_of(body))
        return Response(status_code=204)

    async def _alive(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, _request: Request) -> Response:
        with stored():
            await self._store.ping()
        return JSONResponse({"status": "ready"})

    def _check_credential(self, request: Request) -> None:
        if not compare_digest(request.headers.get("authorization", "").encode(), self._credential):
            raise Problem(401, "the service credential is missing or wrong", {"www-authenticate": "Bearer"})

    async def _read(self, request: Request, limit: int) -> tuple[bytes, Any]:
        self._check_credential(request)
        if any(coding.strip().lower() not in ("", "identity") for coding in request.headers.get("content-encoding", "").split(",")):
            raise Problem(415, "the body has to be sent as it is", {"accept-encoding": "identity"})
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise Problem(415, "the Content-Type must be application/json")
        raw = bytearray()
        size = 0
        # What is too much is read on, so that the sender sees the answer and no reset.
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                raw += chunk
        if size > limit:
            raise Problem(413, f"the body has more than {limit} bytes")
        try:
            body = json.loads(raw.decode(), parse_constant=no_json, parse_float=finite)
        except (ValueError, RecursionError):
            bad("the body is not JSON in UTF-8 that can be read")
        if is_deeper(body, DEPTH):
            bad(f"the body is nested deeper than {DEPTH} levels")
        return bytes(raw), body

    async def _emit(self, request: Request, raw: bytes, events: list[Event]) -> list[dict[str, str]]:
        """A receipt for each event, or a 503 that lists what was accepted (EMIT-22)."""
        key = request.headers.get("idempotency-key")
        work = partial(self._emit_rest, events)
        receipts = await work({}) if key is None else await self._once(f"{request.url.path} {key}", key, raw, work)
        if len(receipts) < len(events):
            accepted = [{"index": int(index), **receipt} for index, receipt in receipts.items()]
            raise Problem(503, "the store does not answer", accepted=sorted(accepted, key=lambda it: it["index"]))
        return [receipts[str(index)] for index in range(len(events))]

    async def _emit_rest(self, events: list[Event], before: Receipts) -> Receipts:
        """What was accepted before, and what is now."""
        rest = [index for index in range(len(events)) if str(index) not in before]
        deliveries = await self._sockets.emit_all([events[index] for index in rest])
        accepted = {
            str(index): {"eventId": events[index].payload["eventId"], "delivery": delivery}
            for index, delivery in zip(rest, deliveries, strict=True)
            if delivery is not None
        }
        return before | accepted

    async def _once(self, name: str, key: str, raw: bytes, work: Callable[[Receipts], Awaitable[Receipts]]) -> Receipts:
        """EMIT-06, EMIT-15, EMIT-18 to EMIT-23, EMIT-34."""
        if not 1 <= len(key) <= 255:
            bad("Idempotency-Key must have 1 to 255 characters")
        if name in self._in_hand:
            raise Problem(409, "a request with this Idempotency-Key is in hand", {"retry-after": "1"})
        self._in_hand.add(name)
        try:
            digest = hashlib.sha256(raw).hexdigest()
            with stored():
                note = self._untold.get(name) or await self._store.note(name) or {"body": digest, "receipts": {}}
            if note["body"] != digest:
                raise Problem(422, "this Idempotency-Key was used with another body")
            receipts = await work(note["receipts"])
            if receipts:
                note = self._untold[name] = {"body": digest, "receipts": receipts}
                try:
                    await self._store.keep_note(name, note)
                    del self._untold[name]
                except StoreError:
                    pass
            return receipts
        finally:
            self._in_hand.discard(name)


async def problem(_request: Request, error: Exception) -> Response:
    """What Starlette refuses by itself, too; what is none of all this is told to nobody."""
    if not isinstance(error, HTTPException):
        error = HTTPException(500, "the server has made a mistake")
    document = {
        "type": "about:blank",
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
        "detail": error.detail,
        **getattr(error, "members", {}),
    }
    return JSONResponse(document, error.status_code, error.headers, media_type="application/problem+json")


def event_of(body: Any, where: str) -> Event:
    """`where` stands before the names of members."""
    members = members_of(body, {"eventType", "actorId", "resourceId", "metadata"}, where)
    if (event_type := members.get("eventType")) not in EVENT_TYPES:
        bad(f"{where}eventType must be one of {', '.join(EVENT_TYPES)}")
    metadata = members.get("metadata", {})
    if not isinstance(metadata, dict):
        bad(f"{where}metadata must be an object")
    return Event.of(event_type, text(members, "actorId", where), text(members, "resourceId", where), metadata)


def session_of(body: Any) -> tuple[str, int | None]:
    members = members_of(body, {"userId", "expiresAt"}, "")
    user_id = text(members, "userId", "")
    if "expiresAt" not in members:
        return user_id, None
    try:
        given = members["expiresAt"].upper()
        if not RFC_3339.fullmatch(given):
            raise ValueError
        return user_id, int(datetime.fromisoformat(given).timestamp() * 1_000)
    except (AttributeError, ValueError):
        bad("expiresAt must be a time in RFC 3339")


def members_of(body: Any, known: set[str], where: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        bad(f"{where[:-1] or 'the body'} must be an object")
    for name in body:
        if name not in known:
            bad(f"{where}{name} is not a known member")
    return body


def text(members: dict[str, Any], name: str, where: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) and value else bad(f"{where}{name} must be a non-empty string")


def no_json(constant: str) -> NoReturn:
    """Python reads and writes `NaN` and `Infinity`, which are no JSON."""
    raise ValueError(constant)


def finite(number: str) -> float:
    value = float(number)
    return value if abs(value) != float("inf") else no_json(number)


def is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deeper(one, levels - 1) for one in inner)
