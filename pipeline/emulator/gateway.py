"""What stands before the models when a request comes through an AI Gateway: its name, its own token, its cache.

Source: developers.cloudflare.com/ai-gateway/ (request headers, caching) and npm workers-ai-provider 4.0.0, collected
2026-11-22. The cache is off by default; its key is a digest of model, authorization and the whole body. Whether the
real one keeps embeddings is not documented; this one keeps every answer that is JSON.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from aiohttp import web

from pipeline.emulator.refusals import Refusal

MISSING_GATEWAY: Final = "missing-gateway"
"""A gateway of this name does not exist."""

LOCKED_GATEWAY: Final = "locked-gateway"
"""A gateway of this name wants ``cf-aig-authorization`` where it is asked by its own address."""

MOST_KEPT: Final = 10_000


def gateway_of(request: web.Request) -> str | None:
    """The gateway a request goes through: named by a header, or by the older form of address.

    Raises:
        Refusal: There is none of that name, or it wants a token of its own.
    """
    by_address = request.match_info.get("gateway")
    name = by_address or request.headers.get("cf-aig-gateway-id") or None
    if name == MISSING_GATEWAY:
        raise Refusal(2001)
    if by_address == LOCKED_GATEWAY:
        scheme, _, token = request.headers.get("cf-aig-authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refusal(10000)
    return name


class GatewayCache:
    """Answers that are kept, the oldest forgotten first.

    Args:
        monotonic: Seconds that never go backwards.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._kept: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def get(self, request: web.Request, raw: bytes) -> bytes | None:
        """Return the kept answer to a request; None where there is none, or it wants none."""
        if _ttl_s(request) is None or request.headers.get("cf-aig-skip-cache", "").lower() == "true":
            return None
        until, body = self._kept.get(_key(request, raw), (0.0, b""))
        return body if until > self._monotonic() else None

    def put(self, request: web.Request, raw: bytes, body: bytes) -> None:
        """Keep an answer, where the request asks for it."""
        ttl_s = _ttl_s(request)
        if ttl_s is None:
            return
        self._kept[_key(request, raw)] = (self._monotonic() + ttl_s, body)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


def _ttl_s(request: web.Request) -> float | None:
    value = request.headers.get("cf-aig-cache-ttl", "")
    return float(value) if value.isdecimal() and int(value) > 0 else None


def _key(request: web.Request, raw: bytes) -> bytes:
    state = sha256()
    for part in (request.match_info.get("model", request.path), request.headers.get("authorization", "")):
        state.update(part.encode() + b"\0")
    state.update(raw)
    return state.digest()
