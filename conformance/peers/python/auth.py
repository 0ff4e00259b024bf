"""Verifies the token of a handshake (SPEC 2). Knows nothing of sessions in the store, rooms and queues."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import jwt
from socketio.exceptions import ConnectionRefusedError as Refusal

ALGORITHM = "HS256"
LEEWAY_SECONDS = 3
# AUTH-27; no issuer writes longer ones.
MAX_TOKEN_LENGTH = 65_536
# PyJWT refuses an `aud` that it was not told of, and looks at `iat`, `sub` and `jti`; times are judged below, last (AUTH-21, AUTH-42).
SIGNATURE_ALONE: Any = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}


@dataclass(frozen=True)
class Identity:
    user_id: str
    session_id: str


def refuse(code: str) -> NoReturn:
    """The code becomes the `message` of the CONNECT_ERROR, and is all that the client is told (AUTH-18, AUTH-21)."""
    raise Refusal(code)


def identify(auth: object, headers: Mapping[str, str], secret: str) -> Identity:
    """Whom the token of a CONNECT names; fails with a `Refusal`."""
    token = find_token(auth, headers)
    try:
        decoded = jwt.decode_complete(token, secret, algorithms=[ALGORITHM], options=SIGNATURE_ALONE)
    except Exception:  # Some tokens make the library raise what is none of its own errors.
        refuse("token_invalid")
    if "crit" in decoded["header"]:
        refuse("token_invalid")
    return judge(decoded["payload"], time.time())


def find_token(auth: object, environ: Mapping[str, str]) -> str:
    """AUTH-01 to AUTH-04, AUTH-28."""
    given: Any = auth.get("token") if isinstance(auth, dict) else None
    if given is None:
        given = environ.get("HTTP_AUTHORIZATION", "")
    if not isinstance(given, str) or len(given) > MAX_TOKEN_LENGTH:
        refuse("token_invalid")
    bare = given[len("Bearer ") :] if given[: len("Bearer ")].lower() == "bearer " else given
    return bare or refuse("token_missing")


def judge(claims: dict[str, Any], now: float) -> Identity:
    """AUTH-07 to AUTH-13."""
    user_id: Any = claims.get("userId", claims.get("sub"))
    session_id: Any = claims.get("sessionId")
    exp: Any = claims.get("exp")
    nbf: Any = claims.get("nbf", 0)
    if claims.get("type") == "refresh" or not (is_text(user_id) and is_text(session_id) and is_time(exp) and is_time(nbf)):
        refuse("token_invalid")
    if nbf > now + LEEWAY_SECONDS:
        refuse("token_invalid")
    if exp + LEEWAY_SECONDS <= now:
        refuse("token_expired")
    return Identity(user_id, session_id)


def is_text(claim: object) -> bool:
    return isinstance(claim, str) and claim != ""


def is_time(claim: object) -> bool:
    return isinstance(claim, (int, float)) and not isinstance(claim, bool)
