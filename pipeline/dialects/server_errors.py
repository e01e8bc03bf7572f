"""Refusals of servers that are not Cloudflare's own REST interface.

OpenAI's form is ``{"error": {message, type, code, param}}``, as it stands in bodies that others have published;
others write ``{"error": "words"}`` (Workers of private persons), ``{"detail": …}`` (FastAPI: vLLM, litellm),
``{"message": …}``, ``{"code", "message"}`` (DeepLX), an error under a 200 (OpenRouter, OneAPI), or a page of HTML.
Cloudflare's ``/ai/v1`` refuses in Cloudflare's own envelope.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import orjson

from pipeline.dialects.body import refuse_swarm, retry_after, snippet, unwrap
from pipeline.dialects.codes import ALLOCATION_PHRASE, MAYBE_BILLED, error_class
from pipeline.dialects.workers_ai import first_error, neurons_header
from pipeline.errors import (
    AllocationExhausted,
    ApiError,
    InvalidRequest,
    Misrouted,
    ModelUnavailable,
    OutOfCapacity,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    Unauthorized,
)
from pipeline.wire import HttpResponse

_BY_NAME: Final[Mapping[str, type[ApiError]]] = {
    "insufficient_quota": QuotaExhausted,
    "billing_hard_limit_reached": QuotaExhausted,
    "billing_not_active": QuotaExhausted,
    "insufficient_user_quota": QuotaExhausted,  # OneAPI
    "rate_limit_exceeded": RateLimited,
    "rate_limit_error": RateLimited,
    "overloaded_error": OutOfCapacity,
    "server_overloaded": OutOfCapacity,
    "model_not_found": ModelUnavailable,
    "context_length_exceeded": RequestTooLarge,
    "string_above_max_length": RequestTooLarge,
    "array_above_max_length": RequestTooLarge,
    "invalid_api_key": Unauthorized,
    "authentication_error": Unauthorized,
    "permission_denied": Unauthorized,
    "content_policy_violation": InvalidRequest,
    "content_filter": InvalidRequest,
}
"""By ``code`` or, where that is not listed, ``type``.

Names and their meaning as public clients sort them (2026-11-23); OpenAI's own list of codes was not read. A name that
is not here is judged by its HTTP status.
"""

_BY_STATUS: Final[Mapping[int, type[ApiError]]] = {
    402: QuotaExhausted,
    503: OutOfCapacity,
    529: OutOfCapacity,
}

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


class Refusals:
    """Turns refusals into errors that know their scope.

    Args:
        base_url: Of the server, for advice.
        api_key_env: Variable with its key, None where it has none.
        now: Wall time, for ``Retry-After`` given as a date.
        counts_neurons: Cloudflare answers itself.
    """

    def __init__(
        self, *, base_url: str, api_key_env: str | None, now: Callable[[], datetime], counts_neurons: bool = False
    ) -> None:
        self._base_url, self._key_env, self._now = base_url, api_key_env, now
        self._counts_neurons = counts_neurons

    def of_status(self, response: HttpResponse) -> ApiError:
        """The error that an answer of 300 and above means."""
        try:
            refuse_swarm(response.body)
            body: object = orjson.loads(response.body)
        except ValueError:
            return self._made(response, response.status, None, _words(response))
        return self.of_body(response, body, response.status)

    def of_body(self, response: HttpResponse, body: object, status: int) -> ApiError:
        """The error that a body says, under a status that it may name itself."""
        if isinstance(body, dict) and isinstance(body.get("errors"), list):
            code, message = first_error(body)
            return self._made(response, status, code, message or snippet(response))
        names, message = _read(body)
        said = next((names[key] for key in ("code", "type") if names.get(key) in _BY_NAME), None)
        error = self._made(response, status, None, message or snippet(response), named=said)
        shown = next((name for name in (said, names.get("code"), names.get("type")) if name), None)
        if shown is not None:
            error.code = shown
        return error

    def _made(
        self, response: HttpResponse, status: int, code: int | None, message: str, *, named: str | None = None
    ) -> ApiError:
        kind = _BY_NAME[named] if named is not None else _BY_STATUS.get(status)
        if kind is None or code is not None:
            kind = error_class(status, code)
        if self._counts_neurons and ALLOCATION_PHRASE in message.lower():
            kind = AllocationExhausted
        pause = retry_after(response.headers.get("retry-after"), self._now())
        error = kind(status, code, message, retry_after_s=pause)
        error.neurons = neurons_header(response.headers) if self._counts_neurons else None
        error.maybe_billed = error.maybe_billed or code in MAYBE_BILLED
        error.hint = self._hint(kind)
        return error

    def _hint(self, kind: type[ApiError]) -> str:
        key = f"the key in {self._key_env}" if self._key_env else "endpoint.api_key_env, which names no key"
        return {
            Unauthorized: f"check {key} for {self._base_url}",
            Misrouted: f"check endpoint.base_url: {self._base_url}",
            ModelUnavailable: "check the name of the model with the server's own list of models",
            QuotaExhausted: f"the credit for {key} is used up; nothing more is sent",
        }.get(kind, "")


def refused_under_200(body: object) -> int | None:
    """The status that a body with an error has in truth, where it came under a 200; None where it is no error."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if body.get("success") is False or (error and not body.get("choices") and not body.get("data")):
        code = error.get("code") if isinstance(error, dict) else None
        if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599:
            return code
        return 500
    return None


def _read(body: object) -> tuple[dict[str, str], str]:
    """The names (code, type) and the words of an error, from any of the forms."""
    if not isinstance(body, dict):
        return {}, ""
    inner = body.get("error")
    holder = inner if isinstance(inner, dict) else body
    names = {key: value for key in ("code", "type") if isinstance(value := holder.get(key), str)}
    names = {key: value for key, value in names.items() if _NAME.fullmatch(value)}
    detail = body.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        detail = detail[0].get("msg")
    candidates: tuple[object, ...] = (holder.get("message"), inner, detail, body.get("msg"), body.get("message"))
    message = next((text for text in candidates if isinstance(text, str) and text), "")
    return names, unwrap(message)


def _words(response: HttpResponse) -> str:
    """What a body that is no JSON says: short plain text as it is, anything else by its kind and size."""
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/plain") and 0 < len(response.body) <= 300:
        return unwrap(response.body.decode(errors="replace"))
    return snippet(response)
