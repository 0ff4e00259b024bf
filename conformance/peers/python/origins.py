"""Which browsers may come in (SPEC 7), for the HTTP routes and the sockets alike."""

import re
from typing import Any

ORIGIN = re.compile(r"(?P<scheme>https?|wss?)://(?P<host>[^/?#@\s:]+|\[[\da-f:.]+\])(?::(?P<port>\d{1,5}))?", re.ASCII | re.IGNORECASE)
PORTS = {"http": "80", "ws": "80", "https": "443", "wss": "443"}


def normal(text: str) -> tuple[str, str, str] | None:
    """Scheme, host and port, written in one way."""
    if not (parts := ORIGIN.fullmatch(text)):
        return None
    scheme = parts["scheme"].lower()
    return scheme, parts["host"].lower(), parts["port"] or PORTS[scheme]


class Origins:
    def __init__(self, listed: str) -> None:
        self._are_all = listed.strip() == "*"
        self._listed = {normal(entry.strip()) for entry in listed.split(",")}

    def _allows(self, origin: str, host: str) -> bool:
        asked = normal(origin)
        # Whether a proxy took the TLS off is not known here: any scheme is right for the own host (ORIGIN-07).
        return asked is not None and (self._are_all or asked in self._listed or asked == normal(f"{asked[0]}://{host}"))

    async def let_in(self, headers: dict[str, str], method: str | None, answer: Any, is_socket: bool) -> bool:
        """Adds what browsers want to the answer. Sockets are refused to strangers (ORIGIN-04, ORIGIN-05): no header keeps them out."""
        origin = headers.get("origin")
        if origin is None:  # ORIGIN-06
            return True
        if not self._allows(origin, headers.get("host", "")):
            if is_socket:
                await answer.refuse(403)
            return not is_socket
        if self._are_all:
            answer.headers = [(b"access-control-allow-origin", b"*")]
        else:
            allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
            answer.headers = [allowed, (b"access-control-allow-credentials", b"true"), (b"vary", b"Origin")]
        if method == "OPTIONS" and "access-control-request-method" in headers:
            asked = headers.get("access-control-request-headers", "").encode("latin-1")
            methods = (b"access-control-allow-methods", b"GET, POST, PUT, DELETE")
            await answer.refuse(204, [methods, (b"access-control-allow-headers", asked)])
            return False
        return True
