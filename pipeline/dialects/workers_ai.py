"""The native REST dialect: ``POST {base}/accounts/{account}/ai/run/{model}``.

Source: developers.cloudflare.com/workers-ai/get-started/rest-api/ and public clients, collected 2026-11-22. The model
keeps its literal slashes (an encoded one is answered 400 / 7000). An AI Gateway is chosen by the header
``cf-aig-gateway-id`` on the same URL, or by the older address ``https://gateway.ai.cloudflare.com/v1/{account}/
{gateway}/workers-ai/{model}``; its headers: developers.cloudflare.com/ai-gateway/ and npm workers-ai-provider 4.0.0,
2026-11-22.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

import orjson

from pipeline.addresses import gateway_url
from pipeline.dialects.body import (
    mime_of,
    refuse_repeated_keys,
    refuse_swarm,
    retry_after,
    snippet,
    unreadable,
    unwrap,
)
from pipeline.dialects.codes import ALLOCATION_PHRASE, MAYBE_BILLED, error_class
from pipeline.dialects.matrix import cut_matrix, put_matrix, read_matrix
from pipeline.dialects.multipart import encode_form
from pipeline.errors import AllocationExhausted, ApiError
from pipeline.records import Answer, Form, GatewayNote, Media, Payload, Raw, Usage
from pipeline.wire import HttpRequest, HttpResponse, amount

_SERVICES: Final = {"tomarkdown": "tomarkdown"}
"""What answers at an address of its own and is no model; developers.cloudflare.com/workers-ai/features/
markdown-conversion/usage/rest-api/, 2026-11-22."""

_MEDIA: Final = ("image/", "audio/", "video/", "application/octet-stream")
_DEEPEST_WRAP: Final = 3
_LONGEST_NOTE: Final = 128
_MOST_TOKENS: Final = 10_000_000  # larger than any context window; more is garbage


class WorkersAI:
    """Encodes inputs for one account and model, and judges the answers.

    Args:
        base_url: e.g. ``https://api.cloudflare.com/client/v4``, no trailing slash; or that of an AI Gateway.
        account_id: 32 hex digits.
        model: ``@cf/author/name``.
        gateway: Id of an AI Gateway to go through, None for none.
        cache_ttl_s: How long the gateway shall keep answers, in seconds; None for what it is set to.
        skip_cache: Take no answer from the gateway's cache.
        now: Wall time, for ``Retry-After`` given as a date.
        vectors: Answers hold vectors: a matrix of numbers in `Answer.result` comes as one float32 array of two
            dimensions where it is plain, as lists where it is not.
        reject_if_busy: Ask to be refused at once (3040) rather than to wait for capacity: another endpoint can take
            the request. Source: changelog of 2026-09-17.
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
        reject_if_busy: bool = False,
        cache_ttl_s: int | None = None,
        skip_cache: bool = False,
    ) -> None:
        through = gateway_url(base_url, account_id, gateway)
        service = f"{base_url}/accounts/{account_id}/ai/"
        self._url = service + _SERVICES[model] if model in _SERVICES else f"{through or f'{service}run'}/{model}"
        self._headers = {
            "content-type": "application/json",
            **gateway_headers(None if through else gateway, cache_ttl_s=cache_ttl_s, skip_cache=skip_cache),
        }
        self._now = now
        self._vectors = vectors
        self._options = {"options": {"rejectIfBusy": True}} if reject_if_busy else {}

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
            return HttpRequest(url=self._url, body=orjson.dumps({**payload, **self._options}), headers=self._headers)
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
        mime = mime_of(response)
        if response.status < 300 and mime.startswith(_MEDIA):
            return answered(response, Media(response.body, mime), Usage(header_neurons=header_neurons))
        try:
            refuse_swarm(response.body)
            body = _with_array(response.body) if self._vectors and response.status < 300 else None
            if body is None:
                body = orjson.loads(response.body)
                if response.status < 300:
                    refuse_repeated_keys(response.body)
        except ValueError as exc:
            if response.status >= 300:
                raise self._refusal(response, code=None, message=snippet(response)) from None
            raise unreadable(response, exc, header_neurons) from None
        if response.status >= 300 or (isinstance(body, dict) and body.get("success") is False):
            code, message = first_error(body)
            raise self._refusal(response, code=code, message=message or snippet(response))
        result = _result_of(body)
        return answered(response, result, read_usage(body, result, header_neurons))

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
        refuse_repeated_keys(rest)
    except ValueError:
        return None
    matrix = read_matrix(text)
    return value if matrix is not None and put_matrix(_result_of(value), matrix) else None


def first_error(body: object, depth: int = 0) -> tuple[int | None, str]:
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
                    inner_code, inner = first_error(orjson.loads(message), depth + 1)
                except orjson.JSONDecodeError:
                    return code, message
                return (inner_code if inner_code is not None else code), inner or message
            return code, message
        if isinstance(body.get("message"), str):
            return None, unwrap(str(body["message"]))
    return None, ""


def gateway_headers(gateway: str | None, *, cache_ttl_s: int | None, skip_cache: bool) -> dict[str, str]:
    """What an AI Gateway is told with a request."""
    headers: dict[str, str] = {}
    if gateway:
        headers["cf-aig-gateway-id"] = gateway
    if cache_ttl_s is not None:
        headers["cf-aig-cache-ttl"] = str(cache_ttl_s)
    if skip_cache:
        headers["cf-aig-skip-cache"] = "true"
    return headers


def answered(response: HttpResponse, result: object, usage: Usage) -> Answer:
    """Put an answer together; one from an AI Gateway's cache costs nothing, whatever the kept body says."""
    cache, log_id = response.headers.get("cf-aig-cache-status"), response.headers.get("cf-aig-log-id")
    if cache is None and log_id is None:
        return Answer(result=result, usage=usage, latency_ms=response.latency_ms)
    note = GatewayNote(_plain(cache, upper=True), _plain(log_id))
    if note.is_hit:
        usage = replace(usage, neurons=0.0, header_neurons=None)
    return Answer(result=result, usage=usage, latency_ms=response.latency_ms, gateway=note)


def _plain(value: str | None, *, upper: bool = False) -> str | None:
    """A header that is kept in rows: a short word, or nothing."""
    if not value or len(value) > _LONGEST_NOTE or not value.isprintable():
        return None
    return value.upper() if upper else value


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
