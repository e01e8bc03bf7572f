"""``POST /graphql``: ``aiInferenceAdaptiveGroups`` answered from the meter, by model and day.

The real dataset lags and is sampled; this one is exact and immediate. Whatever the query calls its variables: 32 hex
digits are the account, dates and times are the bounds, the earliest and the latest count.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Final

from aiohttp import web

from pipeline.emulator.identity import check_token
from pipeline.emulator.meter import Meter
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.state import Emulator
from pipeline.emulator.tasks.base import Json
from pipeline.emulator.wire import json_response, read_body, read_json, refusal_response

DATASET: Final = "aiInferenceAdaptiveGroups"
NO_ANALYTICS_PREFIX: Final = "noanalytics"

_ACCOUNT: Final = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{32}(?![0-9a-fA-F])")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")


class AnalyticsRoutes:
    """Handlers over one emulator."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def graphql(self, request: web.Request) -> web.StreamResponse:
        """Answer one query."""
        try:
            token = check_token(request)
            body = read_json(await read_body(request))
        except Refusal as refusal:
            return refusal_response(refusal)
        variables = body.get("variables")
        told = [str(value) for value in variables.values()] if isinstance(variables, dict) else []
        text = "\n".join([*told, str(body.get("query", ""))])
        account = _ACCOUNT.search(text)
        if DATASET not in text or account is None:
            return _error("unknown field or missing account", "parse")
        if token.startswith(NO_ANALYTICS_PREFIX):
            return _error("not authorized for that account", "authz")
        try:
            moments = [_day(found) for found in _MOMENT.findall(text)]
        except ValueError as exc:
            return _error(f"cannot parse a date: {exc}", "parse")
        first, last = min(moments, default=date.min), max(moments, default=date.max)
        if len(moments) == 1 and "datetime_leq" not in text and "date_leq" not in text and "geq" in text:
            last = date.max
        groups = [_group(*row) for row in self._emulator.meters.rows(account.group().lower(), first, last)]
        return json_response({"data": {"viewer": {"accounts": [{DATASET: groups}]}}, "errors": None})


def _group(day: date, model: str, meter: Meter) -> Json:
    return {
        "count": meter.requests,
        "dimensions": {"modelId": model, "date": day.isoformat()},
        "sum": {
            "totalNeurons": meter.neurons,
            "totalInputTokens": meter.input_tokens,
            "totalOutputTokens": meter.output_tokens,
            "totalAudioSeconds": meter.audio_seconds,
            "totalProcessedTiles": meter.tiles,
            "totalInferenceTimeMs": 0,
        },
    }


def _day(text: str) -> date:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()


def _error(message: str, code: str) -> web.Response:
    path = ["viewer", "accounts", "0", DATASET]
    return json_response({"data": None, "errors": [{"message": message, "path": path, "extensions": {"code": code}}]})
