"""Opens what a run sends to: Cloudflare, another server, or an emulator, behind one `call`."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from yarl import URL

from pipeline.addresses import account_in, api_url, gateway_url, is_loopback_url
from pipeline.client import HttpClient, environment_proxy
from pipeline.clock import Clock
from pipeline.dialects import DeepLX, ImageWorker, Link, OpenAI, Refusals, WorkersAI, openai_dialect
from pipeline.dialects.kinds import KINDS, base_url_of, counts_neurons, needs_account
from pipeline.emulator.process import EmulatorProcess
from pipeline.errors import AttemptError, PlanError, TransportError, UnreadableAnswer, Unsendable
from pipeline.interfaces import Dialect
from pipeline.records import Answer, Media, Payload, Request
from pipeline.resolve import Job
from pipeline.routes import LanePlan
from pipeline.settings import DEFAULT_BASE_URL, Secret, Settings, other_account
from pipeline.spec import EndpointSpec
from pipeline.wire import HttpResponse

_PROBE_S: Final = 5.0
_SIMULATED_TOKEN: Final = "simulated-token"  # noqa: S105 - the emulator takes any
_FETCHES: Final = 3
_FETCH_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class OpenEndpoint:
    """Client and dialect, as the engine sees them, and where they lead.

    Attributes:
        client: Knows the token.
        base_url: Of Cloudflare's API, for what else is asked of it.
        account_id: Whose models answer; empty where no account is asked.
        has_analytics: Cloudflare counts what is sent here.
        dialect: What is spoken there.
    """

    client: HttpClient
    base_url: str
    account_id: str
    has_analytics: bool
    dialect: Dialect
    _clock: Clock

    async def call(self, payload: Payload, request: Request) -> Answer:  # noqa: ARG002 - for those that keep notes
        """Send once; a picture that the answer only names is fetched.

        Raises:
            AttemptError: No usable answer came, or it refused.
        """
        try:
            sent = self.dialect.encode(payload)
        except ValueError as exc:
            raise Unsendable(str(exc)) from exc
        answer = self.dialect.decode(await self.client.send(sent))
        if isinstance(answer.result, Link) and isinstance(self.dialect, ImageWorker):
            picture, took_ms = await self._fetched(answer.result, self.dialect)
            return replace(answer, result=picture, latency_ms=answer.latency_ms + took_ms)
        return answer

    async def _fetched(self, link: Link, dialect: ImageWorker) -> tuple[Media, float]:
        """Fetch a picture, without any key; more than once, for drawing it again would be paid again."""
        began = self._clock.monotonic()
        for left in reversed(range(_FETCHES)):
            response: HttpResponse | None = None
            try:
                response = await self.client.fetch(link.url)
            except TransportError as error:
                if not left:  # the Worker has answered: it is not the endpoint that cannot be reached
                    raise UnreadableAnswer(f"the picture cannot be fetched: {error}") from None
            if response is not None and (response.status < 500 or not left):
                return dialect.picture(response), (self._clock.monotonic() - began) * 1000.0
            await self._clock.sleep(_FETCH_PAUSE_S * (_FETCHES - left))
        raise AssertionError("the last attempt returns or raises")


@contextlib.asynccontextmanager
async def open_emulator(job: Job, options: Sequence[str]) -> AsyncIterator[str]:
    """Start an emulator of our own for the body; yield its base URL. No key of the job's endpoints is shown to it."""
    emulator = EmulatorProcess(*options, hidden=[plan.endpoint.api_key_env or "" for plan in job.lanes])
    try:
        await asyncio.to_thread(emulator.start)
    except RuntimeError as exc:
        given = f"--emulator-args {shlex.join(options)}: " if options else ""
        raise PlanError(f"{given}{exc}; what it said is above") from None
    try:
        yield emulator.url
    finally:
        emulator.stop()


@contextlib.asynccontextmanager
async def open_endpoint(
    job: Job, plan: LanePlan, settings: Settings, clock: Clock, *, emulator_url: str | None, stands_alone: bool = True
) -> AsyncIterator[OpenEndpoint]:
    """Open one endpoint of a job for the body.

    Args:
        job: What is run.
        plan: Which endpoint, and what it answers with.
        settings: Base URL, account and token.
        clock: Time.
        emulator_url: Of the emulator that stands in for every endpoint; None where none does.
        stands_alone: There is no other endpoint to turn to when this one is busy.

    Raises:
        SettingsError: The variable that should hold its key is not set, or that of the proxy holds none.
    """
    endpoint = plan.endpoint
    gateway_token, query = Secret(), None
    is_spared = not stands_alone and plan.weight > 0
    if emulator_url is not None:
        base_url, token, account_id = emulator_url, Secret(_SIMULATED_TOKEN), f"{plan.number:032x}"
        dialect: Dialect = _workers_ai(job, plan, base_url, account_id, clock, is_spared=is_spared)
    else:
        base_url = plan.base_url
        usual, token = settings.account_id, settings.api_token
        if needs_account(endpoint) and (endpoint.account_id_env or endpoint.api_key_env):
            usual, token = other_account(endpoint.account_id_env, endpoint.api_key_env, settings)
            base_url = base_url_of(endpoint, replace(settings, account_id=usual))
        account_id = account_in(base_url) or (usual if needs_account(endpoint) else "")
        token, gateway_token, query = _secrets(endpoint, settings, base_url, token)
        dialect = _dialect(job, plan, base_url, account_id, clock, is_spared=is_spared)
    environment_proxy(URL(base_url))
    client = HttpClient(
        token=token,
        concurrency=plan.concurrency,
        timeout_s=job.spec.limits.request_timeout_seconds,
        clock=clock,
        query=query,
        gateway_token=gateway_token,
    )
    api = base_url if emulator_url is not None or endpoint.kind == "workers-ai" else settings.base_url
    async with client:
        yield OpenEndpoint(client, api_url(api, DEFAULT_BASE_URL), account_id, plan.counts_neurons, dialect, clock)


def _secrets(
    endpoint: EndpointSpec, settings: Settings, base_url: str, token: Secret
) -> tuple[Secret, Secret, str | None]:
    """Token, token of the gateway, and the query parameter the first travels in (None for a header)."""
    if needs_account(endpoint):
        is_gateway = gateway_url(base_url, settings.account_id, endpoint.gateway) is not None
        return token, settings.gateway_token if is_gateway else Secret(), None
    key = settings.key(endpoint.api_key_env) if endpoint.api_key_env else Secret()
    place = endpoint.api_key_in or KINDS[endpoint.kind].key_in
    return key, Secret(), None if place == "header" else place


def _workers_ai(
    job: Job, plan: LanePlan, base_url: str, account_id: str, clock: Clock, *, is_spared: bool
) -> WorkersAI:
    return WorkersAI(
        base_url=base_url,
        account_id=account_id,
        model=plan.model.name,
        gateway=plan.endpoint.gateway,
        now=clock.now,
        vectors=job.spec.task == "embed",
        reject_if_busy=is_spared,
        cache_ttl_s=plan.endpoint.cache_ttl_seconds,
        skip_cache=plan.endpoint.skip_cache,
    )


def _dialect(job: Job, plan: LanePlan, base_url: str, account_id: str, clock: Clock, *, is_spared: bool) -> Dialect:
    endpoint, model = plan.endpoint, plan.model.name
    refusals = Refusals(base_url=base_url, api_key_env=endpoint.api_key_env, now=clock.now)
    match endpoint.kind:
        case "openai":
            return openai_dialect(
                base_url=base_url,
                model=model,
                task=job.spec.task,
                api_key_env=endpoint.api_key_env or ("CLOUDFLARE_API_TOKEN" if needs_account(endpoint) else None),
                now=clock.now,
                counts_neurons=counts_neurons(endpoint),
                gateway=endpoint.gateway,
                cache_ttl_s=endpoint.cache_ttl_seconds,
                skip_cache=endpoint.skip_cache,
            )
        case "deeplx":
            return DeepLX(base_url=base_url, refusals=refusals)
        case "whisper-worker":
            base = base_url.removesuffix("/audio/transcriptions").removesuffix("/v1")
            return OpenAI(
                base_url=f"{base}/v1",
                model=model,
                operation="transcriptions",
                refusals=refusals,
                asks_for_words=False,
            )
        case "image-worker":
            return ImageWorker(base_url=base_url, model=model, refusals=refusals)
        case _:
            return _workers_ai(job, plan, base_url, account_id, clock, is_spared=is_spared)


async def meets_emulator(job: Job, clock: Clock) -> bool:
    """Ask the addresses on this machine that stand for Cloudflare's whether one is an emulator's.

    Its answers must not pass for real ones, nor may those of others in the same output.
    """
    urls = {plan.base_url for plan in job.lanes if plan.counts_neurons}
    return any([await _is_emulator(url, clock) for url in urls])


async def _is_emulator(base_url: str, clock: Clock) -> bool:
    if not is_loopback_url(base_url):
        return False
    client = HttpClient(token=Secret(_SIMULATED_TOKEN), concurrency=1, timeout_s=_PROBE_S, clock=clock)
    async with client:
        try:
            response = await client.get(f"{base_url}/user/tokens/verify")
        except AttemptError:
            return False
    return "x-simulated" in response.headers
