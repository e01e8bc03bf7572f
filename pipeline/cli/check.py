"""`wai check`: is the token good for this account and model? Costs nothing.

``GET /ai/models/search?search=…`` tests token, account and permission at once, for both kinds of token, and needs no
more than Workers AI: Read (observed by public clients, 2026-11-22).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

import orjson

from pipeline.addresses import api_url
from pipeline.client import HttpClient
from pipeline.clock import SystemClock
from pipeline.dialects import Refusals, WorkersAI
from pipeline.dialects.body import read_json
from pipeline.dialects.codes import advice
from pipeline.dialects.kinds import base_url_of, needs_account
from pipeline.errors import ApiError, AttemptError
from pipeline.resolve import Job, resolve
from pipeline.settings import DEFAULT_BASE_URL, Secret, Settings, load_settings
from pipeline.spec import EndpointSpec, JobSpec, load_spec

_PATIENCE_S: Final = 30.0
_UNREACHED: Final = "look at the network and at the address of the server"


@dataclass(frozen=True, slots=True)
class Access:
    """What the check found.

    Attributes:
        ok: Requests would be taken.
        base_url: Whom was asked.
        account_id: As whom.
        model: Model looked for, empty where none was.
        model_found: Whether the account's catalogue lists it.
        problem: What is wrong and what to do, empty where nothing is.
        warnings: Things worth mending.
        unchecked: What could not be asked for nothing, empty where all was.
        is_answered: Whether anybody answered; a refusal is an answer.
    """

    ok: bool
    base_url: str
    account_id: str
    model: str
    model_found: bool
    problem: str
    warnings: tuple[str, ...]
    unchecked: str = ""
    is_answered: bool = True

    @property
    def exit_code(self) -> int:
        """0 where it is good, 12 where it was refused, 1 where nobody said either."""
        return 0 if self.ok else 12 if self.is_answered else 1

    def to_json(self) -> dict[str, object]:
        """The object that ``--json`` prints."""
        return {
            "ok": self.ok,
            "base_url": self.base_url,
            "account_id": self.account_id or None,
            "model": self.model or None,
            "model_found": self.model_found if self.model and not self.unchecked else None,
            "problem": self.problem or None,
            "unchecked": self.unchecked or None,
            "warnings": list(self.warnings),
        }

    def lines(self) -> list[str]:
        """The same in words."""
        lines = [f"warning: {warning}" for warning in self.warnings]
        if not self.ok:
            return [*lines, f"{'refused' if self.is_answered else 'no answer'}: {self.problem}"]
        if self.unchecked:
            return [*lines, self.unchecked]
        lines.append(
            f"token and account are good for Workers AI at {self.base_url}"
            if self.account_id
            else f"{self.base_url} answers and takes the key"
        )
        there = "for this account" if self.account_id else "there"
        if self.model:
            lines.append(
                f"model {self.model} is listed {there}"
                if self.model_found
                else f"model {self.model} is not listed {there}; it may still answer"
            )
        return lines


def check_access(spec: Path | None, overrides: Sequence[str] = ()) -> Access:
    """Ask once for the account, and once more for the model of `spec`; another server for its list of models."""
    loaded = load_spec(spec, overrides) if spec is not None else None
    endpoint = loaded.spec.endpoint if loaded is not None else EndpointSpec()
    is_cloudflare = needs_account(endpoint) or endpoint.kind == "emulator"
    settings = load_settings(
        need_credentials=is_cloudflare, keys=[endpoint.api_key_env] if endpoint.api_key_env else []
    )
    if loaded is not None and (others := _others(loaded.spec)):
        warning = f"only the usual account and token are tried, not those of {', '.join(others)}"
        settings = replace(settings, warnings=(*settings.warnings, warning))
    job = resolve(loaded, settings) if loaded is not None else None
    model = job.model.name if job is not None else ""
    if is_cloudflare or job is None:
        base_url = base_url_of(endpoint, settings) if endpoint.kind == "workers-ai" else settings.base_url
        return asyncio.run(_check(settings, model, api_url(base_url, DEFAULT_BASE_URL)))
    if endpoint.kind == "openai":
        return asyncio.run(_check_server(job, endpoint, settings))
    return Access(
        ok=True,
        base_url=job.base_url,
        account_id="",
        model=model,
        model_found=False,
        problem="",
        warnings=settings.warnings,
        unchecked=f"nothing can be asked of a {endpoint.kind} without a request; --limit 1 tries one",
    )


def _others(spec: JobSpec) -> list[str]:
    """Endpoints of several that are other servers or other accounts."""
    return [
        lane.name or lane.kind
        for lane in spec.endpoints
        if not needs_account(lane) or lane.account_id_env or lane.api_key_env
    ]


async def _check_server(job: Job, endpoint: EndpointSpec, settings: Settings) -> Access:
    """``GET {base}/models`` costs nothing where a server has it; Cloudflare's ``/ai/v1`` has not (405, 2026-09-28)."""
    clock, base_url, model = SystemClock(), job.base_url, job.model.name
    refusals = Refusals(base_url=base_url, api_key_env=endpoint.api_key_env, now=clock.now)
    token, place = settings.key(endpoint.api_key_env) if endpoint.api_key_env else Secret(), endpoint.api_key_in
    query = None if place in {None, "header"} else place
    problem, unchecked, is_found, is_answered = "", "", False, True
    async with HttpClient(token=token, concurrency=1, timeout_s=_PATIENCE_S, clock=clock, query=query) as client:
        try:
            response = await client.get(f"{base_url}/models")
            if response.status in {404, 405, 501} or (response.status == 400 and job.counts_neurons):
                unchecked = f"{base_url} does not list its models, so the key and the name of the model are not checked"
            elif response.status >= 300:
                raise refusals.of_status(response)
            else:
                listed = read_json(response)
                items = listed.get("data") if isinstance(listed, dict) else None
                names = [item.get("id") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
                is_found = model in names
        except AttemptError as error:
            is_answered = isinstance(error, ApiError)
            hint = advice(error) if isinstance(error, ApiError) else _UNREACHED
            problem = f"{error}{'; ' + hint if hint else ''}"
    return Access(
        ok=not problem,
        base_url=base_url,
        account_id="",
        model=model,
        model_found=is_found,
        problem=problem,
        warnings=settings.warnings,
        unchecked=unchecked,
        is_answered=is_answered,
    )


async def _check(settings: Settings, model: str, base_url: str) -> Access:
    clock = SystemClock()
    client = HttpClient(
        token=settings.api_token,
        concurrency=1,
        timeout_s=_PATIENCE_S,
        clock=clock,
    )
    dialect = WorkersAI(base_url=base_url, account_id=settings.account_id, model=model, gateway=None, now=clock.now)
    problem, is_found, is_answered = "", False, True
    async with client:
        wanted = quote(model.rsplit("/", 1)[-1] or "nothing-is-called-this", safe="")
        url = f"{base_url}/accounts/{settings.account_id}/ai/models/search?search={wanted}"
        try:
            response = await client.get(url)
            listed = dialect.decode(response).result
            with contextlib.suppress(orjson.JSONEncodeError):  # nested deeper than any catalogue
                is_found = isinstance(listed, list) and f'"{model}"'.encode() in orjson.dumps(listed)
        except AttemptError as error:
            is_answered = isinstance(error, ApiError)
            hint = advice(error) if isinstance(error, ApiError) else _UNREACHED
            problem = f"{error}{'; ' + hint if hint else ''}"
    return Access(
        ok=not problem,
        base_url=base_url,
        account_id=settings.account_id,
        model=model,
        model_found=is_found,
        problem=problem,
        warnings=settings.warnings,
        is_answered=is_answered,
    )
