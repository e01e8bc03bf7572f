"""``/__emulator``: what a test asks of the emulator and tells it."""

from __future__ import annotations

import orjson
from aiohttp import web

from pipeline.emulator.state import Emulator
from pipeline.emulator.wire import json_response


class ControlRoutes:
    """Handlers over one emulator."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def stats(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - the form of a handler
        """``GET /__emulator/stats``: meter of the present UTC day and counters since the last reset."""
        return json_response(self._emulator.report())

    async def reset(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - the form of a handler
        """``POST /__emulator/reset``: as if just started, without faults."""
        self._emulator.reset()
        return json_response({"ok": True})

    async def faults(self, request: web.Request) -> web.StreamResponse:
        """``PUT /__emulator/faults``: replace the fault plan."""
        try:
            plan: object = orjson.loads(await request.read())
            if not isinstance(plan, dict):
                raise ValueError("faults: expected an object")
            self._emulator.set_faults(plan)
        except ValueError as exc:
            return json_response({"error": str(exc)}, status=400)
        return json_response({"rules": len(self._emulator.faults.rules)})

    async def clock(self, request: web.Request) -> web.StreamResponse:
        """``PUT /__emulator/clock``: shift the wall clock."""
        try:
            told: object = orjson.loads(await request.read())
        except ValueError as exc:
            return json_response({"error": str(exc)}, status=400)
        offset = told.get("offset_seconds") if isinstance(told, dict) else None
        if not isinstance(offset, int | float):
            return json_response({"error": "offset_seconds: a number is wanted"}, status=400)
        self._emulator.shift_clock(float(offset))
        return json_response({"now": self._emulator.now().isoformat()})
