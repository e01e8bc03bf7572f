"""The application: every route, wired to one `Emulator`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from aiohttp import web

from pipeline.clock import SystemClock
from pipeline.emulator import lookups
from pipeline.emulator.analytics import AnalyticsRoutes
from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.control import ControlRoutes
from pipeline.emulator.identity import TOLERANT
from pipeline.emulator.inference import InferenceRoutes
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.state import Emulator
from pipeline.emulator.wire import MAX_BODY_BYTES, refusal_response, sign

API: Final = "/client/v4"
CONTROL: Final = "/__emulator"
ACCOUNT: Final = API + "/accounts/{account}"
GATEWAY: Final = "/v1/{account}/{gateway}/workers-ai"
"""Of the host gateway.ai.cloudflare.com: the older form of an AI Gateway's address."""

EMULATOR: Final = web.AppKey("emulator", Emulator)
"""Where an application keeps its state."""


def build_app(
    config: EmulatorConfig,
    *,
    now: Callable[[], datetime] | None = None,
    monotonic: Callable[[], float] | None = None,
) -> web.Application:
    """Build the emulator's application.

    Args:
        config: Options.
        now: Wall time, aware; the system's when left out.
        monotonic: Seconds that never go backwards; the system's when left out.
    """
    clock = SystemClock()
    emulator = Emulator(config, now=now or clock.now, monotonic=monotonic or clock.monotonic)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[EMULATOR] = emulator
    app[TOLERANT] = config.tolerates_encoded_slashes
    app.on_response_prepare.append(sign)
    app.on_cleanup.append(_close)
    inference = InferenceRoutes(emulator)
    control = ControlRoutes(emulator)
    known = [
        web.post(ACCOUNT + "/ai/run/{model:.+}", inference.run),
        web.post(ACCOUNT + "/ai/tomarkdown", inference.markdown),
        web.get(ACCOUNT + "/ai/tomarkdown/supported", lookups.convertible),
        web.post(ACCOUNT + "/ai/v1/chat/completions", inference.chat),
        web.post(ACCOUNT + "/ai/v1/embeddings", inference.embeddings),
        web.post(GATEWAY + "/v1/chat/completions", inference.chat),
        web.post(GATEWAY + "/v1/embeddings", inference.embeddings),
        web.post(GATEWAY + "/{model:.+}", inference.run),
        web.get(ACCOUNT + "/ai/models/search", lookups.search),
        web.get(ACCOUNT + "/ai/models/schema", lookups.schema),
        web.get(ACCOUNT + "/tokens/verify", lookups.verify_account_token),
        web.get(API + "/user/tokens/verify", lookups.verify_user_token),
        web.post(API + "/graphql", AnalyticsRoutes(emulator).graphql),
        web.get(CONTROL + "/stats", control.stats),
        web.post(CONTROL + "/reset", control.reset),
        web.put(CONTROL + "/faults", control.faults),
        web.put(CONTROL + "/clock", control.clock),
    ]
    # the order matters: a path that is known with another method is 405, anything else has no route
    app.add_routes(known)
    app.add_routes([web.route("*", route.path, _wrong_method) for route in known])
    app.add_routes([web.route("*", ACCOUNT + "/ai/v1/models", _wrong_method), web.route("*", "/{rest:.*}", _no_route)])
    return app


async def _wrong_method(request: web.Request) -> web.StreamResponse:
    message = f"{request.method} method not allowed for the {request.path} endpoint"
    return refusal_response(Refusal(7001, message))


async def _no_route(request: web.Request) -> web.StreamResponse:  # noqa: ARG001 - the form of a handler
    return refusal_response(Refusal(7000))


async def _close(app: web.Application) -> None:
    app[EMULATOR].close()
