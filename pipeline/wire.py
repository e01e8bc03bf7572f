"""What crosses the wire: one HTTP request out, one HTTP response in, as plain values.

The client moves them and knows nothing of their meaning; a dialect gives them meaning and does no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A POST that is about to leave.

    Attributes:
        url: Absolute; sent byte for byte, nothing in it is escaped again.
        body: Always bytes, so that every attempt sends the same.
        headers: Without the authorization, which only the client knows.
    """

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete answer.

    Attributes:
        status: HTTP status, any.
        headers: Names in lower case.
        body: All of it, decompressed, at most the client's cap.
        latency_ms: Milliseconds from sending to the last byte.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_ms: float
