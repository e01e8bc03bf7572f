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
from pipeline.resolve import Job
from pipeline.settings import Secret, Settings, is_loopback_url

_PROBE_S: Final = 5.0
_SIMULATED_ACCOUNT: Final = "0" * 32
_SIMULATED_TOKEN: Final = "simulated-token"  # noqa: S105 - the emulator takes any


@dataclass(frozen=True, slots=True)
class OpenEndpoint:
    """Client and dialect, as the engine sees them, and where they lead.

    Attributes:
        client: Knows the token.
        base_url: Of the API.
        account_id: Whose models answer.
    """

    client: HttpClient
    base_url: str
    account_id: str
    _dialect: Dialect

    async def call(self, payload: Payload, request: Request) -> Answer:  # noqa: ARG002 - for those that keep notes
        """Send once."""
        return self._dialect.decode(await self.client.send(self._dialect.encode(payload)))


@contextlib.asynccontextmanager
async def open_endpoint(
    job: Job, settings: Settings, clock: Clock, emulator_args: Sequence[str] = ()
) -> AsyncIterator[OpenEndpoint]:
    """Open the endpoint of a job; an emulator of its own lives as long as the body."""
    async with contextlib.AsyncExitStack() as stack:
        base_url, token, account_id = settings.base_url, settings.api_token, settings.account_id
        if job.embeds_emulator:
            emulator = EmulatorProcess(*emulator_args)
            await asyncio.to_thread(emulator.start)
            stack.callback(emulator.stop)
            base_url, token, account_id = emulator.url, Secret(_SIMULATED_TOKEN), _SIMULATED_ACCOUNT
        limits = job.spec.limits
        client = await stack.enter_async_context(
            HttpClient(
                token=token,
                concurrency=limits.concurrency,
                timeout_s=limits.request_timeout_seconds,
                clock=clock,
            )
        )
        dialect = WorkersAI(
            base_url=base_url,
            account_id=account_id,
            model=job.model.name,
            gateway=job.spec.endpoint.gateway,
            now=clock.now,
            vectors=job.spec.task == "embed",
        )
        yield OpenEndpoint(client, base_url, account_id, dialect)


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
