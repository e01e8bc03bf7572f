"""The endpoints that cost nothing: model search, model schema, token checks.

Source: live answers recorded by public clients up to 2026-09-28. ``per_page`` is ignored; the second page is empty.
"""

from __future__ import annotations

from typing import Final
from uuid import NAMESPACE_URL, uuid5

from aiohttp import web

from pipeline.emulator.identity import check_account, check_token
from pipeline.emulator.models import Model, models, published_schema
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks.base import Json
from pipeline.emulator.tasks.conversion import MIMES
from pipeline.emulator.wire import envelope, json_response, refusal_response

PRICE_UNITS: Final = {
    "input_per_m_tokens": "per M input tokens",
    "output_per_m_tokens": "per M output tokens",
    "cached_input_per_m_tokens": "per M cached input tokens",
    "per_audio_minute": "per audio minute",
    "per_m_chars": "per M characters",
    "per_step": "per step",
    "per_tile": "per 512 by 512 tile",
}
FLAGS: Final = {
    "async_batch": "async_queue",
    "beta": "beta",
    "reasoning": "reasoning",
    "vision": "vision",
    "requires_paid": "require_workers_paid",
}
FIGURES: Final = {
    "context_window": "context_window",
    "max_input_tokens": "max_input_tokens",
    "dimensions": "output_dimensions",
}
ACCOUNT_PREFIX: Final = "cfat_"


def search_item(model: Model) -> Json:
    """Return a model as ``/ai/models/search`` lists it: booleans are the text "true", absent means no or unknown."""
    facts = model.facts
    properties: list[Json] = []
    usd = facts.get("usd")
    if isinstance(usd, dict) and usd:
        prices = [{"unit": PRICE_UNITS.get(k, k), "price": price, "currency": "USD"} for k, price in usd.items()]
        properties.append({"property_id": "price", "value": prices})
    properties += [{"property_id": to, "value": str(facts[of])} for of, to in FIGURES.items() if facts.get(of)]
    properties += [{"property_id": to, "value": "true"} for of, to in FLAGS.items() if facts.get(of) is True]
    if model.deprecated:
        properties.append({"property_id": "planned_deprecation_date", "value": model.deprecated})
    task = _task_title(model)
    return {
        "id": str(uuid5(NAMESPACE_URL, model.name)),
        "source": 1,
        "name": model.name,
        "description": f"[simulated] {task} model",
        "task": {"id": str(uuid5(NAMESPACE_URL, model.task)), "name": task, "description": f"[simulated] {task}"},
        "created_at": str(facts.get("created") or "2026-01-01 00:00:00.000"),
        "tags": [],
        "properties": properties,
    }


def _task_title(model: Model) -> str:
    return model.task.replace("-", " ").title().replace("To ", "to ")


def _page(request: web.Request) -> int:
    told = request.query.get("page", "1")
    return int(told) if told.isdigit() else 1


async def search(request: web.Request) -> web.StreamResponse:
    """``GET /accounts/{account}/ai/models/search``."""
    try:
        check_account(request)
    except Refusal as refusal:
        return refusal_response(refusal)
    wanted = request.query.get("search", "").lower()
    task = request.query.get("task", "").lower().replace(" ", "-")
    author = request.query.get("author", "").lower()
    retired = request.query.get("include_deprecated", "").lower() == "true"
    found = [
        search_item(model)
        for model in models().values()
        if wanted in model.name.lower()
        and task in {"", model.task}
        and (not author or model.name.lower().split("/")[1] == author)
        and (retired or not model.deprecated)
    ]
    page = _page(request)
    items = found if page <= 1 else []
    info = {"count": len(items), "page": page, "per_page": max(1, len(found)), "total_count": len(found)}
    return json_response({**envelope(items), "result_info": info})


async def schema(request: web.Request) -> web.StreamResponse:
    """``GET /accounts/{account}/ai/models/schema?model=``."""
    try:
        check_account(request)
        name = request.query.get("model", "")
        sides = {side: published_schema(name, side) for side in ("input", "output")}
        if name not in models() or None in sides.values():
            raise Refusal(5007, f"AiError: No such model {name} or task")
    except Refusal as refusal:
        return refusal_response(refusal)
    return json_response(envelope(sides))


async def convertible(request: web.Request) -> web.StreamResponse:
    """``GET /accounts/{account}/ai/tomarkdown/supported``."""
    try:
        check_account(request)
    except Refusal as refusal:
        return refusal_response(refusal)
    return json_response(envelope([{"extension": suffix, "mimeType": mime} for suffix, mime in MIMES.items()]))


async def verify_user_token(request: web.Request) -> web.StreamResponse:
    """``GET /user/tokens/verify``: takes user tokens only."""
    try:
        if check_token(request).startswith(ACCOUNT_PREFIX):
            raise Refusal(1000)
    except Refusal as refusal:
        return refusal_response(refusal)
    return _verified()


async def verify_account_token(request: web.Request) -> web.StreamResponse:
    """``GET /accounts/{account}/tokens/verify``."""
    try:
        check_account(request)
    except Refusal as refusal:
        return refusal_response(refusal)
    return _verified()


def _verified() -> web.Response:
    words: Json = {"code": 10000, "message": "This API Token is valid and active", "type": None}
    return json_response(envelope({"id": "51ca1a7e" * 4, "status": "active"}, [words]))
