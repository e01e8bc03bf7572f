"""Bodies of answers, read with suspicion: what every dialect does before it looks at the meaning."""

from __future__ import annotations

import contextlib
import json
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import orjson

from pipeline.errors import ResponseTruncated, UnreadableAnswer
from pipeline.wire import HttpResponse

_WRAPPING: Final = re.compile(r"^(?:AiError: )+")
_UUID_TAIL: Final = re.compile(r" \([0-9a-f]{8}-[0-9a-f-]{20,40}\)$")
_SNIPPET: Final = 300
_LONGEST_KIND: Final = 80
_LARGE: Final = 4 * 1024 * 1024
_MOST_VALUES: Final = 1_000_000
# Every string is taken whole, key or not: a search that went on inside a text would begin anew at each of its quotes.
_KEY: Final = re.compile(rb'("(?:[^"\\]++|\\.)*+")\s*+:|"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def mime_of(response: HttpResponse) -> str:
    """The media type of a body, without parameters, in lower case."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_json(response: HttpResponse, neurons: float | None = None) -> object:
    """Read the body of an answer that claims success.

    Raises:
        ResponseTruncated: It breaks off.
        UnreadableAnswer: It is not JSON, or says a thing twice.
    """
    try:
        refuse_swarm(response.body)
        body: object = orjson.loads(response.body)
        refuse_repeated_keys(response.body)
    except ValueError as exc:
        raise unreadable(response, exc, neurons) from None
    return body


class _UnusableError(ValueError):
    """JSON, but not such as an answer is made of."""


def refuse_swarm(body: bytes) -> None:
    """Refuse a body of very many small values, which grows twentyfold when it is parsed.

    Raises:
        _UnusableError: It is one. The largest real answers have some 400,000 (a hundred vectors of 4,096 numbers).
    """
    if len(body) > _MOST_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise _UnusableError("it holds too many values")


def refuse_repeated_keys(body: bytes) -> None:
    """Refuse an object that has one key twice: parsers differ in which of them counts, so neither is believed.

    Nearly all answers use every key once, which one search shows; only the others are parsed again to see where.

    Raises:
        _UnusableError: There is such an object.
    """
    keys = [key for key in _KEY.findall(body) if key]
    if len(set(keys)) == len(keys) and not any(b"\\" in key for key in keys):
        return
    if len(body) > _LARGE:
        raise _UnusableError("it is too large for so many keys")
    with contextlib.suppress(RecursionError):  # deeper than any answer that is understood
        json.loads(body, object_pairs_hook=_with_keys_once)


def _with_keys_once(pairs: list[tuple[str, object]]) -> None:
    known: set[str] = set()
    for key, _ in pairs:
        if key in known:
            raise _UnusableError(f"an object in it has the key {unwrap(key)!r} twice")
        known.add(key)


def unreadable(response: HttpResponse, exc: ValueError, neurons: float | None) -> ResponseTruncated | UnreadableAnswer:
    """Tell a body that breaks off (worth another attempt) from one that is not JSON (it would be paid for again)."""
    error: ResponseTruncated | UnreadableAnswer
    if not isinstance(exc, orjson.JSONDecodeError):
        error = UnreadableAnswer(f"the answer cannot be used: {exc}")
    elif _breaks_off(response.body, exc):
        error = ResponseTruncated(f"the answer breaks off after {len(response.body)} bytes")
    else:
        error = UnreadableAnswer(f"the answer is not JSON: {exc.msg}")
    error.neurons = neurons
    error.http_status = response.status
    return error


def _breaks_off(body: bytes, exc: orjson.JSONDecodeError) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError as broken:  # orjson tells no position in a body that is not UTF-8
        return broken.reason == "unexpected end of data"
    return not body or exc.pos >= len(exc.doc) - 1 or "end of" in exc.msg or "EOF" in exc.msg


def snippet(response: HttpResponse) -> str:
    """Say of an answer whose words cannot be read what can be said."""
    kind = response.headers.get("content-type", "no content type").split(";", 1)[0]
    return f"HTTP {response.status}, {unwrap(kind[:_LONGEST_KIND])}, {len(response.body)} bytes"


def unwrap(message: str) -> str:
    """Strip ``AiError: AiError: … (uuid)`` down to the words in the middle, at most 300 characters of them.

    What does not print (escape sequences, line breaks, marks that turn the reading direction) becomes a space: people
    read the words on a terminal.
    """
    words = _UUID_TAIL.sub("", _WRAPPING.sub("", message.strip()))[:_SNIPPET]
    return words if words.isprintable() else "".join(sign if sign.isprintable() else " " for sign in words)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Read ``Retry-After`` in seconds, given as a number or as an HTTP date; None where absent or garbage."""
    if not value:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return seconds if math.isfinite(seconds) and seconds >= 0 else None
    try:
        at = parsedate_to_datetime(value)
        return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
