"""Putting answers on the wire: the Cloudflare envelope, refusals, and the headers every answer carries."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web

from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks.base import Json

MAX_BODY_BYTES: Final = 20 * 1024 * 1024
SIMULATED: Final = ("x-simulated", "wai-emulator")

_ids = itertools.count(1)


def next_uuid() -> str:
    """Return an id in the form of a UUID; a counter, so cheap and repeatable."""
    n = next(_ids)
    return f"51ca1a7e-{n >> 48 & 0xFFFF:04x}-4000-8000-{n & 0xFFFFFFFFFFFF:012x}"


async def sign(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001 - the form of the signal
    """Mark an answer as simulated and number it; connected to the application's ``on_response_prepare``."""
    response.headers[SIMULATED[0]] = SIMULATED[1]
    response.headers.setdefault("cf-ray", f"{next(_ids):016x}-SIM")


def envelope(result: object, messages: list[Json] | None = None) -> Json:
    """Wrap a result as the Cloudflare API does."""
    return {"result": result, "success": True, "errors": [], "messages": messages or []}


def failure(code: int, message: str) -> Json:
    """Wrap a refusal as the Cloudflare API does."""
    return {"result": None, "success": False, "errors": [{"code": code, "message": message}], "messages": []}


def dump(body: object) -> bytes:
    """Serialise a body; numpy arrays become lists of numbers."""
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with JSON."""
    raw = body if isinstance(body, bytes) else dump(body)
    return web.Response(body=raw, status=status, headers=headers, content_type="application/json")


def refusal_response(refusal: Refusal, *, reached_model: bool = False) -> web.Response:
    """Answer with a refusal.

    ``cf-ai-req-id`` comes with everything that reached a model and only with that (observed).
    """
    headers: dict[str, str] = {}
    message = refusal.message
    if reached_model:
        headers["cf-ai-req-id"] = next_uuid()
        if refusal.code in {5006, 5021, 5024, 3043}:
            message = f"{message} ({headers['cf-ai-req-id']})"
    if refusal.neurons is not None:
        headers["cf-ai-neurons"] = f"{refusal.neurons:.2f}"
    if refusal.retry_after_s is not None:
        headers["retry-after"] = f"{refusal.retry_after_s:g}"
    return json_response(failure(refusal.code, message), status=refusal.status, headers=headers)


async def read_body(request: web.Request) -> bytes:
    """Read a request body.

    Raises:
        Refusal: 413 / 3006 when it is larger than 20 MB, 400 / 3003 when it is empty.
    """
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise Refusal(3006)
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge as exc:
        raise Refusal(3006) from exc
    if not raw:
        raise Refusal(3003)
    return raw


def read_json(raw: bytes) -> Json:
    """Decode a request body.

    Raises:
        Refusal: 400 / 5006 when it is not a JSON object.
    """
    try:
        body: object = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise Refusal(5006, f"AiError: AiError: Bad input: invalid JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise Refusal(5006, "AiError: AiError: Bad input: Error: type at '/' not met: an object is wanted")
    return body
