"""Opens what a run sends to: the service, or an emulator, behind one `call`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.client import HttpClient
from pipeline.clock import Clock
from pipeline.dialects import WorkersAI
from pipeline.emulator.process import EmulatorProcess
from pipeline.errors import AttemptError
from pipeline.interfaces import Dialect
from pipeline.records import Answer, Payload, Request
from pipeline.resolve import Job, LanePlan
from pipeline.settings import Secret, Settings, is_loopback_url, other_account

_PROBE_S: Final = 5.0
_SIMULATED_TOKEN: Final = "simulated-token"  # noqa: S105 - the emulator takes any


@dataclass(frozen=True, slots=True)
class OpenEndpoint:
    """Client and dialect, as the engine sees them, and where they lead.

    Attributes:
        client: Knows the token.
        base_url: Of the API.
        account_id: Whose models answer.
        has_analytics: Cloudflare counts what is sent here.
    """

    client: HttpClient
    base_url: str
    account_id: str
    has_analytics: bool
    _dialect: Dialect

    async def call(self, payload: Payload, request: Request) -> Answer:  # noqa: ARG002 - for those that keep notes
        """Send once."""
        return self._dialect.decode(await self.client.send(self._dialect.encode(payload)))


@contextlib.asynccontextmanager
async def open_emulator(options: Sequence[str]) -> AsyncIterator[str]:
    """Start an emulator of our own for the body; yield its base URL."""
    emulator = EmulatorProcess(*options)
    await asyncio.to_thread(emulator.start)
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
    """
    base_url, token, account_id = settings.base_url, settings.api_token, settings.account_id
    if emulator_url is not None:
        base_url, token, account_id = emulator_url, Secret(_SIMULATED_TOKEN), f"{plan.number:032x}"
    elif plan.endpoint.account_id_env or plan.endpoint.api_key_env:
        account_id, token = other_account(plan.endpoint.account_id_env, plan.endpoint.api_key_env, settings)
    client = HttpClient(
        token=token,
        concurrency=plan.concurrency,
        timeout_s=job.spec.limits.request_timeout_seconds,
        clock=clock,
    )
    dialect = WorkersAI(
        base_url=base_url,
        account_id=account_id,
        model=plan.model.name,
        gateway=plan.endpoint.gateway,
        now=clock.now,
        vectors=job.spec.task == "embed",
        reject_if_busy=not stands_alone and plan.weight > 0,
    )
    async with client:
        yield OpenEndpoint(client, base_url, account_id, True, dialect)


async def is_emulator(settings: Settings, clock: Clock) -> bool:
    """Ask a base URL on this machine whether it is an emulator: its answers must not pass for real ones."""
    if not is_loopback_url(settings.base_url):
        return False
    client = HttpClient(token=Secret(_SIMULATED_TOKEN), concurrency=1, timeout_s=_PROBE_S, clock=clock)
    async with client:
        try:
            response = await client.get(f"{settings.base_url}/user/tokens/verify")
        except AttemptError:
            return False
    return "x-simulated" in response.headers
