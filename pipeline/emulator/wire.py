"""Putting answers on the wire: the Cloudflare envelope, refusals, and the headers every answer carries."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import BodyPartReader, MultipartReader, StreamReader, web

from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks.base import RAW, FormFields, Json, Upload

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
    """Serialise a body; numpy arrays become lists of numbers, a file is what it is."""
    if isinstance(body, Upload):
        return body.content
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with JSON, or with a file as it is."""
    kind = body.mime if isinstance(body, Upload) else "application/json"
    raw = body if isinstance(body, bytes) else dump(body)
    return web.Response(body=raw, status=status, headers=headers, content_type=kind)


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


async def read_input(request: web.Request, raw: bytes) -> Json:
    """Decode a request body by its content type: JSON, a form, or a file that is the body itself.

    Raises:
        Refusal: 400 / 5006 when it is none of them.
    """
    kind = request.content_type
    if kind == "multipart/form-data":
        return await _read_form(request, raw)
    if kind.startswith(("audio/", "image/", "video/")) or (
        kind == "application/octet-stream" and not raw.lstrip().startswith(b"{")
    ):
        return {RAW: Upload(raw, "" if kind == "application/octet-stream" else kind)}
    return read_json(raw)


async def _read_form(request: web.Request, raw: bytes) -> Json:
    """Read a form; a field that stands several times becomes a list."""
    stream = StreamReader(request.protocol, 2**16, loop=asyncio.get_running_loop())
    stream.feed_data(raw)
    stream.feed_eof()
    fields = FormFields()
    try:
        async for part in MultipartReader(request.headers, stream):
            if not isinstance(part, BodyPartReader) or part.name is None:
                continue
            content = bytes(await part.read(decode=True))
            value: object = content.decode(errors="replace")
            if part.filename is not None:
                value = Upload(content, part.headers.get("content-type", ""), part.filename)
            held = fields.get(part.name)
            fields[part.name] = value if held is None else [*held, value] if isinstance(held, list) else [held, value]
    except ValueError as exc:
        raise Refusal(5006, f"AiError: AiError: Bad input: invalid form: {exc}") from exc
    return fields


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
