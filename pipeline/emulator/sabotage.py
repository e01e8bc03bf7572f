"""Putting faults on the wire, below and above HTTP."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from aiohttp import web

from pipeline.emulator.faults import Rule
from pipeline.emulator.refusals import REFUSALS, Refusal
from pipeline.emulator.tasks.base import Json
from pipeline.emulator.wire import dump, failure, json_response

HANG_S: Final = 600.0
SETTLE_S: Final = 0.02
TRICKLE_S: Final = 1.0
TRICKLE_PARTS: Final = 20
MEGABYTE: Final = 1_000_000
DEPTH: Final = 100_000
UNREACHABLE: Final = "http://127.0.0.1:9/"
HTML: Final = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>cloudflare</body></html>\n"

_FIRST_NUMBER: Final = re.compile(rb'("data":\[\[|"embedding":\[|"total_tokens":|"score":)-?[0-9.e+-]+')


def abort(request: web.Request) -> web.Response:
    """Cut the TCP connection; the response returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def instead(request: web.Request, rule: Rule) -> web.StreamResponse:
    """Answer (or not) in place of an inference.

    Raises:
        Refusal: For faults that are codes of the service.
    """
    if rule.fault.isdigit() and int(rule.fault) in REFUSALS:
        await asyncio.sleep(rule.seconds or 0.0)
        raise Refusal(int(rule.fault), retry_after_s=rule.retry_after)
    if rule.fault == "hang":
        await asyncio.sleep(HANG_S if rule.seconds is None else rule.seconds)
        return abort(request)
    if rule.fault == "gzip_bomb":
        bomb = await asyncio.to_thread(_bomb, rule.mb)
        return web.Response(body=bomb, content_type="application/json", headers={"content-encoding": "gzip"})
    return abort(request) if rule.fault == "reset" else _page(rule)


def _page(rule: Rule) -> web.Response:
    headers = {} if rule.retry_after is None else {"retry-after": f"{rule.retry_after:g}"}
    match rule.fault:
        case "success_false":
            return json_response(failure(3043, REFUSALS[3043][1]))
        case "redirect":
            return web.Response(status=302, headers={"location": UNREACHABLE})
        case "500":
            return web.Response(status=500, text="Internal Server Error", headers=headers)
        case "503":
            page = HTML.format("503 Service Temporarily Unavailable")
            return web.Response(status=503, text=page, content_type="text/html", headers=headers)
        case _:
            return web.Response(status=502, text=HTML.format("502 Bad Gateway"), content_type="text/html")


async def afterwards(request: web.Request, rule: Rule, body: object, headers: dict[str, str]) -> web.StreamResponse:
    """Spoil the answer of an inference that ran."""
    match rule.fault:
        case "truncated":
            return await _partial(request, dump(body), headers, missing=1_000)
        case "reset_mid_body":
            raw = dump(body)
            response = await _partial(request, raw[: max(1, len(raw) // 2)], headers, missing=max(1, len(raw) // 2))
            await asyncio.sleep(SETTLE_S)  # a reset also discards what the peer has not read yet
            abort(request)
            return response
        case "slow_body":
            return await _trickle(request, dump(body), headers, TRICKLE_S if rule.seconds is None else rule.seconds)
        case "big_body":
            return await _padded(request, headers, rule.mb)
        case _:
            return json_response(_spoiled(rule.fault, body), headers=headers)


async def _started(request: web.Request, headers: dict[str, str], length: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={**headers, "content-type": "application/json"})
    response.content_length = length
    await response.prepare(request)
    return response


async def _partial(request: web.Request, raw: bytes, headers: dict[str, str], *, missing: int) -> web.StreamResponse:
    response = await _started(request, headers, len(raw) + missing)
    response.force_close()
    await response.write(raw)
    return response


async def _trickle(request: web.Request, raw: bytes, headers: dict[str, str], seconds: float) -> web.StreamResponse:
    response = await _started(request, headers, len(raw))
    step = -(-len(raw) // TRICKLE_PARTS)
    for at in range(0, len(raw), step):
        await asyncio.sleep(seconds / TRICKLE_PARTS)
        await response.write(raw[at : at + step])
    return response


async def _padded(request: web.Request, headers: dict[str, str], mb: float) -> web.StreamResponse:
    head, tail = b'{"result":{"padding":"', b'"},"success":true,"errors":[],"messages":[]}'
    left = int(mb * MEGABYTE)
    response = await _started(request, headers, len(head) + left + len(tail))
    await response.write(head)
    while left > 0:
        await response.write(b"x" * min(left, MEGABYTE))
        left -= MEGABYTE
    await response.write(tail)
    return response


def _bomb(mb: float) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b'{"result":{"padding":"')]
    left = int(mb * MEGABYTE)
    while left > 0:
        parts.append(packer.compress(b"0" * min(left, MEGABYTE)))
        left -= MEGABYTE
    parts.append(packer.compress(b'"},"success":true,"errors":[],"messages":[]}'))
    parts.append(packer.flush())
    return b"".join(parts)


def _spoiled(fault: str, body: object) -> bytes:
    if fault in _CHANGES and isinstance(body, dict):
        inner = body.get("result")
        _CHANGES[fault](inner if isinstance(inner, dict) else body)
        return dump(body)
    raw = dump(body)
    match fault:
        case "garbage_json":
            return raw[: len(raw) // 2]
        case "invalid_utf8":
            return b'{"note":"\xff\xfe\xc3",' + raw[1:]
        case "nan_vector":
            return _FIRST_NUMBER.sub(rb"\1NaN", raw, count=1)
        case _:
            return b'{"result":' + b"[" * DEPTH + b"]" * DEPTH + b',"success":true,"errors":[],"messages":[]}'


def _wrong_count(answer: Json) -> None:
    for key in ("data", "choices", "output", "response"):
        held = answer.get(key)
        if isinstance(held, np.ndarray | list):
            answer[key] = held[:-1]
            shape = answer.get("shape")
            if isinstance(shape, list):
                answer["shape"] = [shape[0] - 1, *shape[1:]]
            return
    answer.pop("response", None)


def _wrong_dim(answer: Json) -> None:
    held = answer.get("data")
    if isinstance(held, np.ndarray):
        answer["data"] = np.ascontiguousarray(held[:, :-1])
        answer["shape"] = [held.shape[0], held.shape[1] - 1]
    elif isinstance(held, list):
        for item in held:
            item["embedding"] = item["embedding"][:-1]


def _null_content(answer: Json) -> None:
    choices = answer.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            choice["message"]["content"] = None
        return
    for key in ("response", "output_text", "data"):
        if key in answer:
            answer[key] = None


def _bad_json(answer: Json) -> None:
    """JSON, but a list where a schema asks for an object."""
    wrong = ["[simulated] this breaks the schema"]
    text = dump(wrong).decode()
    for choice in _dicts(answer.get("choices")):
        choice["message"]["content"] = text
    for item in _dicts(answer.get("output")):
        if item["type"] == "message":
            item["content"] = [{"type": "output_text", "text": text}]
    if "output_text" in answer:
        answer["output_text"] = text
    if "response" in answer:
        answer["response"] = text if isinstance(answer["response"], str) else wrong


def _dicts(held: object) -> list[Any]:
    return held if isinstance(held, list) else []


_CHANGES: Final[dict[str, Callable[[Json], None]]] = {
    "wrong_count": _wrong_count,
    "wrong_dim": _wrong_dim,
    "null_content": _null_content,
    "bad_json": _bad_json,
}
