"""`wai check`: is the token good for this account and model? Costs nothing.

``GET /ai/models/search?search=…`` tests token, account and permission at once, for both kinds of token, and needs no
more than Workers AI: Read (observed by public clients, 2026-11-22).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import orjson

from pipeline.client import HttpClient
from pipeline.clock import SystemClock
from pipeline.dialects import WorkersAI
from pipeline.dialects.codes import advice
from pipeline.errors import ApiError, AttemptError
from pipeline.resolve import resolve
from pipeline.settings import Settings, load_settings
from pipeline.spec import load_spec


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
    """

    ok: bool
    base_url: str
    account_id: str
    model: str
    model_found: bool
    problem: str
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """The object that ``--json`` prints."""
        return {
            "ok": self.ok,
            "base_url": self.base_url,
            "account_id": self.account_id,
            "model": self.model or None,
            "model_found": self.model_found if self.model else None,
            "problem": self.problem or None,
            "warnings": list(self.warnings),
        }

    def lines(self) -> list[str]:
        """The same in words."""
        lines = [f"warning: {warning}" for warning in self.warnings]
        if not self.ok:
            return [*lines, f"refused: {self.problem}"]
        lines.append(f"token and account are good for Workers AI at {self.base_url}")
        if self.model:
            lines.append(
                f"model {self.model} is listed for this account"
                if self.model_found
                else f"model {self.model} is not listed for this account; it may still answer"
            )
        return lines


def check_access(spec: Path | None) -> Access:
    """Ask once for the account, and once more for the model of `spec`."""
    settings = load_settings(need_credentials=True)
    model = resolve(load_spec(spec), settings).model.name if spec is not None else ""
    return asyncio.run(_check(settings, model))


async def _check(settings: Settings, model: str) -> Access:
    clock = SystemClock()
    client = HttpClient(
        token=settings.api_token,
        concurrency=1,
        timeout_s=30.0,
        clock=clock,
    )
    dialect = WorkersAI(
        base_url=settings.base_url, account_id=settings.account_id, model=model, gateway=None, now=clock.now
    )
    problem, is_found = "", False
    async with client:
        wanted = quote(model.rsplit("/", 1)[-1] or "nothing-is-called-this", safe="")
        url = f"{settings.base_url}/accounts/{settings.account_id}/ai/models/search?search={wanted}"
        try:
            response = await client.get(url)
            listed = dialect.decode(response).result
            with contextlib.suppress(orjson.JSONEncodeError):  # nested deeper than any catalogue
                is_found = isinstance(listed, list) and f'"{model}"'.encode() in orjson.dumps(listed)
        except ApiError as error:
            hint = advice(error)
            problem = f"{error}{'; ' + hint if hint else ''}"
        except AttemptError as error:
            problem = str(error)
    return Access(
        ok=not problem,
        base_url=settings.base_url,
        account_id=settings.account_id,
        model=model,
        model_found=is_found,
        problem=problem,
        warnings=settings.warnings,
    )
