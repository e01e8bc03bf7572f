"""The native REST dialect: ``POST {base}/accounts/{account}/ai/run/{model}``.

Source: developers.cloudflare.com/workers-ai/get-started/rest-api/ and public clients, collected 2026-11-22. The model
keeps its literal slashes (an encoded one is answered 400 / 7000). An AI Gateway is chosen by the header
``cf-aig-gateway-id`` on the same URL.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import orjson

from pipeline.dialects.codes import ALLOCATION_PHRASE, MAYBE_BILLED, error_class
from pipeline.dialects.matrix import cut_matrix, put_matrix, read_matrix
from pipeline.dialects.multipart import encode_form
from pipeline.errors import AllocationExhausted, ApiError, ResponseTruncated, UnreadableAnswer
from pipeline.records import Answer, Form, Media, Payload, Raw, Usage
from pipeline.wire import HttpRequest, HttpResponse, amount

_WRAPPING: Final = re.compile(r"^(?:AiError: )+")
_UUID_TAIL: Final = re.compile(r" \([0-9a-f]{8}-[0-9a-f-]{20,40}\)$")
_SERVICES: Final = {"tomarkdown": "tomarkdown"}
"""What answers at an address of its own and is no model; developers.cloudflare.com/workers-ai/features/
markdown-conversion/usage/rest-api/, 2026-11-22."""

_SNIPPET: Final = 300
_MEDIA: Final = ("image/", "audio/", "video/", "application/octet-stream")
_DEEPEST_WRAP: Final = 3
_LARGE: Final = 4 * 1024 * 1024
_MOST_VALUES: Final = 1_000_000
_MOST_TOKENS: Final = 10_000_000  # larger than any context window; more is garbage
_KEY: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)"\s*+:', re.DOTALL)


class WorkersAI:
    """Encodes inputs for one account and model, and judges the answers.

    Args:
        base_url: e.g. ``https://api.cloudflare.com/client/v4``, no trailing slash.
        account_id: 32 hex digits.
        model: ``@cf/author/name``.
        gateway: Id of an AI Gateway to go through, None for none.
        now: Wall time, for ``Retry-After`` given as a date.
        vectors: Answers hold vectors: a matrix of numbers in `Answer.result` comes as one float32 array of two
            dimensions where it is plain, as lists where it is not.
    """

    def __init__(
        self,
        *,
        base_url: str,
        account_id: str,
        model: str,
        gateway: str | None,
        now: Callable[[], datetime],
        vectors: bool = False,
    ) -> None:
        self._url = f"{base_url}/accounts/{account_id}/ai/{_SERVICES.get(model, f'run/{model}')}"
        self._headers = {"content-type": "application/json"}
        if gateway:
            self._headers["cf-aig-gateway-id"] = gateway
        self._now = now
        self._vectors = vectors

    def encode(self, payload: Payload) -> HttpRequest:
        """Put a model input on the wire.

        Raises:
            ValueError: The payload holds what JSON cannot (a lone surrogate, NaN).
        """
        if isinstance(payload, Raw):
            return HttpRequest(self._url, payload.content, {**self._headers, "content-type": payload.mime})
        if isinstance(payload, Form):
            body, kind = encode_form(payload)
            return HttpRequest(self._url, body, {**self._headers, "content-type": kind})
        try:
            return HttpRequest(url=self._url, body=orjson.dumps(payload), headers=self._headers)
        except (orjson.JSONEncodeError, TypeError) as exc:
            raise ValueError(f"cannot be sent as JSON: {exc}") from exc

    def decode(self, response: HttpResponse) -> Answer:
        """Read an answer, or raise what it means.

        Raises:
            ApiError: The service refused.
            ResponseTruncated: The body breaks off.
            UnreadableAnswer: The status says success, and the body is neither media nor JSON, or says a thing twice.
        """
        header_neurons = neurons_header(response.headers)
        mime = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status < 300 and mime.startswith(_MEDIA):
            usage = Usage(header_neurons=header_neurons)
            return Answer(result=Media(response.body, mime), usage=usage, latency_ms=response.latency_ms)
        try:
            _refuse_swarm(response.body)
            body = _with_array(response.body) if self._vectors and response.status < 300 else None
            if body is None:
                body = orjson.loads(response.body)
                if response.status < 300:
                    _refuse_repeated_keys(response.body)
        except ValueError as exc:
            if response.status >= 300:
                raise self._refusal(response, code=None, message=_snippet(response)) from None
            raise _unreadable(response, exc, header_neurons) from None
        if response.status >= 300 or (isinstance(body, dict) and body.get("success") is False):
            code, message = _first_error(body)
            raise self._refusal(response, code=code, message=message or _snippet(response))
        result = _result_of(body)
        return Answer(result=result, usage=read_usage(body, result, header_neurons), latency_ms=response.latency_ms)

    def _refusal(self, response: HttpResponse, *, code: int | None, message: str) -> ApiError:
        kind = error_class(response.status, code)
        if ALLOCATION_PHRASE in message.lower():  # also wrapped into other codes (8007, observed)
            kind = AllocationExhausted
        error = kind(
            response.status,
            code,
            message,
            retry_after_s=retry_after(response.headers.get("retry-after"), self._now()),
        )
        error.neurons = neurons_header(response.headers)
        error.maybe_billed = error.maybe_billed or code in MAYBE_BILLED
        return error


def _result_of(body: object) -> object:
    return body["result"] if isinstance(body, dict) and "result" in body and "success" in body else body


def _with_array(body: bytes) -> object:
    """Read a body whose result holds a matrix of numbers; None where it is to be read the ordinary way."""
    parts = cut_matrix(body)
    if parts is None:
        return None
    rest, text = parts
    try:
        value = orjson.loads(rest)
        _refuse_repeated_keys(rest)
    except ValueError:
        return None
    matrix = read_matrix(text)
    return value if matrix is not None and put_matrix(_result_of(value), matrix) else None


class _UnusableError(ValueError):
    """JSON, but not such as an answer is made of."""


def _refuse_swarm(body: bytes) -> None:
    """Refuse a large body of very many small values, which grows twentyfold when it is parsed.

    Raises:
        _UnusableError: It is one. The largest real answers have some 400,000 (a hundred vectors of 4,096 numbers).
    """
    if len(body) > _LARGE and sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise _UnusableError("it holds too many values")


def _refuse_repeated_keys(body: bytes) -> None:
    """Refuse an object that has one key twice: parsers differ in which of them counts, so neither is believed.

    Nearly all answers use every key once, which one search shows; only the others are parsed again to see where.

    Raises:
        _UnusableError: There is such an object.
    """
    keys = _KEY.findall(body)
    if len(set(keys)) == len(keys) and not any(b"\\" in key for key in keys):
        return
    if len(body) > _LARGE:
        raise _UnusableError("it is too large for so many keys")
    with contextlib.suppress(RecursionError):  # deeper than any answer that is understood
        json.loads(body, object_pairs_hook=_with_keys_once)


def _with_keys_once(pairs: list[tuple[str, object]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _UnusableError(f"an object in it has the key {unwrap(twice)!r} twice")


def _unreadable(response: HttpResponse, exc: ValueError, neurons: float | None) -> ResponseTruncated | UnreadableAnswer:
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


def _snippet(response: HttpResponse) -> str:
    kind = response.headers.get("content-type", "no content type").split(";", 1)[0]
    return f"HTTP {response.status}, {kind}, {len(response.body)} bytes"


def _first_error(body: object, depth: int = 0) -> tuple[int | None, str]:
    """Find the innermost ``{code, message}`` of an error envelope; messages may hold another envelope as JSON."""
    if isinstance(body, dict):
        errors = body.get("errors") or body.get("error")
        if isinstance(errors, dict):
            errors = errors.get("errors", [errors])
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            raw_code, raw_message = errors[0].get("code"), errors[0].get("message")
            message = unwrap(raw_message) if isinstance(raw_message, str) else ""
            code = raw_code if isinstance(raw_code, int) and not isinstance(raw_code, bool) else None
            if message.startswith("{") and depth < _DEEPEST_WRAP:
                try:
                    inner_code, inner = _first_error(orjson.loads(message), depth + 1)
                except orjson.JSONDecodeError:
                    return code, message
                return (inner_code if inner_code is not None else code), inner or message
            return code, message
        if isinstance(body.get("message"), str):
            return None, unwrap(str(body["message"]))
    return None, ""


def unwrap(message: str) -> str:
    """Strip ``AiError: AiError: … (uuid)`` down to the words in the middle, at most 300 characters of them.

    What does not print (escape sequences, line breaks, marks that turn the reading direction) becomes a space: people
    read the words on a terminal.
    """
    words = _UUID_TAIL.sub("", _WRAPPING.sub("", message.strip()))[:_SNIPPET]
    return words if words.isprintable() else "".join(sign if sign.isprintable() else " " for sign in words)


def neurons_header(headers: Mapping[str, str]) -> float | None:
    """Read ``cf-ai-neurons`` (two decimals); None where it is absent or no number."""
    return amount(headers.get("cf-ai-neurons"))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS else None


def read_usage(body: object, result: object, header_neurons: float | None) -> Usage:
    """Collect what an answer says it used, from wherever it says it.

    ``usage`` stands inside ``result`` (native) or beside it, moondream says ``metrics``; its names are the chat ones or
    the Responses ones.
    """
    usage: object = None
    for holder, name in ((result, "usage"), (body, "usage"), (result, "metrics")):
        if isinstance(holder, dict) and isinstance(holder.get(name), dict):
            usage = holder[name]
            break
    if not isinstance(usage, dict):
        return Usage(header_neurons=header_neurons)
    details = usage.get("prompt_tokens_details")
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return Usage(
        neurons=amount(usage.get("neurons")),
        header_neurons=header_neurons,
        input_tokens=_count(usage.get("input_tokens") if prompt is None else prompt),
        output_tokens=_count(usage.get("output_tokens") if completion is None else completion),
        cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, dict) else None,
    )


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
