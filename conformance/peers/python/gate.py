"""Stands before the library's transports and lets through what they can bear (SPEC 1, 7). Knows no user and no Socket.IO packet.

The library keeps a connection whose packet it cannot read, answers polls without pause while an upgrade is under way, and leaves a
session that way for good where the WebSocket of an upgrade closes too soon. So packets are looked at here, and an upgrade reaches the
library when the client has completed it.
"""

import asyncio
import re
from urllib.parse import parse_qs

import socketio
from engineio import packet as engine
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from notifications import MAX_PAYLOAD_BYTES, NotificationServer
from origins import Origins, preflight

UPGRADE_SECONDS = 10
# How often a poll is answered with nothing while an upgrade is under way (TRANS-12).
NOOP_SECONDS = 0.1
SOCKETS = "/socket.io/"
# What a client may say: close, pong, a message of Socket.IO and upgrade; by polling, base64, too.
PACKET = re.compile(r"[135]|4[0-6]|b")
HANG_UP: Message = {"type": "websocket.disconnect", "code": 1002}


class Gate:
    def __init__(self, sockets: NotificationServer, control: ASGIApp, origins: Origins) -> None:
        self._sockets = sockets
        self._app = socketio.ASGIApp(sockets, other_asgi_app=control)
        self._origins = origins
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._upgrades: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        answer = Answer(scope, send)
        headers = Headers(scope=scope)
        # The library takes the path without its last slash, too.
        is_socket = f"{scope['path']}/".startswith(SOCKETS)
        granted = self._origins.grant(headers.get("origin"), headers.get("host", ""))
        if granted is None and is_socket:
            await answer.refuse(403)  # ORIGIN-04, ORIGIN-05; no header keeps a WebSocket out.
            return
        answer.headers = granted or []
        if granted and scope.get("method") == "OPTIONS" and "access-control-request-method" in headers:
            await answer.refuse(204, *preflight(headers.get("access-control-request-headers", "")))
            return
        query = parse_qs(scope["query_string"].decode("latin-1"))
        sid = query.get("sid", [""])[0]
        if is_socket and "transport" not in query:
            await answer.refuse(400)  # TRANS-10; the library takes it for polling.
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, answer, sid)
        elif is_socket and scope["method"] == "POST":
            await self._post(scope, receive, answer, sid)
        elif is_socket and scope["method"] == "GET" and sid:
            await self._poll(scope, receive, answer, sid)
        else:
            await self._app(scope, receive, answer.send)

    async def _post(self, scope: Scope, receive: Receive, answer: "Answer", sid: str) -> None:
        """The library reads as much as `Content-Length` says, which need not be there."""
        body = await read(receive, MAX_PAYLOAD_BYTES)
        try:
            packets = body.decode().split("\x1e") if body is not None else []
        except UnicodeDecodeError:
            packets = []
        is_last = packets[-1:] == ["1"]
        packets = packets[:-1] if is_last else packets
        if body is None or not all(PACKET.match(packet) for packet in packets) or not (packets or is_last):
            await self._sockets.end(sid)
            await answer.refuse(413 if body is None else 400)
            return
        body = "\x1e".join(packets).encode()
        headers = [header for header in scope["headers"] if header[0] != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await self._app({**scope, "headers": headers}, replay({"type": "http.request", "body": body}, then=receive), answer.send)
        if is_last:
            # The library would leave the poll that waits without an answer.
            await self._sockets.end(sid)

    async def _poll(self, scope: Scope, receive: Receive, answer: "Answer", sid: str) -> None:
        """Of a client that breaks a poll off the library would hand the next event to nobody."""
        request = await receive()
        poll = asyncio.create_task(self._app(scope, replay(request, then=receive), answer.send))
        gone = asyncio.ensure_future(receive())
        self._polls[sid] = poll
        try:
            await asyncio.wait([poll, gone], return_when=asyncio.FIRST_COMPLETED)
            if not poll.done():
                await self._sockets.end(sid)
            await poll
        finally:
            gone.cancel()
            if self._polls.get(sid) is poll:
                del self._polls[sid]

    async def _websocket(self, scope: Scope, receive: Receive, answer: "Answer", sid: str) -> None:
        if not sid:
            await self._app(scope, vetted(receive), answer.send)
        elif sid in self._upgrades or not self._sockets.can_upgrade(sid):
            await answer.refuse(400)
        else:
            self._upgrades.add(sid)
            try:
                await self._upgrade(scope, receive, answer, sid)
            finally:
                self._upgrades.discard(sid)

    async def _upgrade(self, scope: Scope, receive: Receive, answer: "Answer", sid: str) -> None:
        """The library makes the WebSocket the session's transport, and takes the poll's place, as soon as it hears of it (TRANS-12)."""
        connect = await receive()
        await answer.send({"type": "websocket.accept"})
        try:
            async with asyncio.timeout(UPGRADE_SECONDS):
                is_complete = await self._is_completed(receive, answer, sid)
        except TimeoutError:
            is_complete = False
        if not is_complete or not self._sockets.can_upgrade(sid):
            await answer.send({"type": "websocket.close"})
            return
        while poll := self._polls.get(sid):
            await self._sockets.eio.send_packet(sid, engine.Packet(engine.NOOP))
            await asyncio.wait([poll])

        async def send(message: Message) -> None:
            # The client has been told this.
            if message["type"] != "websocket.accept" and message.get("text") != "3probe":
                await answer.send(message)

        await self._app(scope, replay(connect, said("2probe"), said("5"), then=vetted(receive)), send)

    async def _is_completed(self, receive: Receive, answer: "Answer", sid: str) -> bool:
        """Clients say `5` when no poll of theirs waits any more; one that is answered just before they read `3probe` is made anew."""
        if (await receive()).get("text") != "2probe":
            return False
        await answer.send({"type": "websocket.send", "text": "3probe"})
        completion = asyncio.ensure_future(receive())
        try:
            while not completion.done():
                if sid in self._polls:
                    await self._sockets.eio.send_packet(sid, engine.Packet(engine.NOOP))
                await asyncio.wait([completion], timeout=NOOP_SECONDS)
        finally:
            completion.cancel()
        return completion.result().get("text") == "5"


class Answer:
    """What is sent back. A WebSocket that is refused is answered with the status that a request would be, and not with 403."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._is_websocket = scope["type"] == "websocket"
        self._send = send
        self._has_begun = False
        self.headers: list[tuple[bytes, bytes]] = []

    async def send(self, message: Message) -> None:
        if self._is_websocket and not self._has_begun and message["type"] == "websocket.close":
            await self.refuse(400)
            return
        if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            self._has_begun = True
            message = {**message, "headers": [*message.get("headers", []), *self.headers]}
        await self._send(message)

    async def refuse(self, status: int, *headers: tuple[bytes, bytes]) -> None:
        kind = "websocket.http.response" if self._is_websocket else "http.response"
        await self.send({"type": f"{kind}.start", "status": status, "headers": [(b"content-length", b"0"), *headers]})
        await self.send({"type": f"{kind}.body", "body": b""})


async def read(receive: Receive, limit: int) -> bytes | None:
    """A body, or None where it breaks off or is longer: it is read on, so that the sender sees the answer and no reset, and not kept."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        size += len(message.get("body", b""))
        if size <= limit:
            chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks) if size <= limit else None


def said(text: str) -> Message:
    return {"type": "websocket.receive", "text": text}


def replay(*messages: Message, then: Receive) -> Receive:
    waiting = list(messages)

    async def receive() -> Message:
        return waiting.pop(0) if waiting else await then()

    return receive


def vetted(receive: Receive) -> Receive:
    """Ends a WebSocket at the first frame that is no packet, and at the packet that ends it (TRANS-06)."""

    async def vet() -> Message:
        message = await receive()
        text = message.get("text")
        if text is None or (PACKET.match(text) and text != "1" and text[0] != "b"):
            return message
        return HANG_UP

    return vet
