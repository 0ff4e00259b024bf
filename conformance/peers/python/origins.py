"""Which browsers may come in (SPEC 7), for the HTTP routes and the sockets alike."""

import re

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

    def grant(self, origin: str | None, host: str) -> list[tuple[bytes, bytes]] | None:
        """The headers that tell a browser that it may read the answer; None for a stranger."""
        if origin is None:  # ORIGIN-06
            return []
        if not self._allows(origin, host):
            return None
        if self._are_all:
            return [(b"access-control-allow-origin", b"*")]
        allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
        return [allowed, (b"access-control-allow-credentials", b"true"), (b"vary", b"Origin")]


def preflight(asked: str) -> list[tuple[bytes, bytes]]:
    """ORIGIN-08."""
    methods = (b"access-control-allow-methods", b"GET, POST, PUT, DELETE")
    return [methods, (b"access-control-allow-headers", asked.encode("latin-1"))]
