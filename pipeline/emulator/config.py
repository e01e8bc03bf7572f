"""What an emulator can be told at its start; frozen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

FREE_NEURONS: Final = 10_000.0
_LAST_PORT: Final = 65_535
"""Neurons per account and UTC day on Workers Free (pricing page, 2026-08-28)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorConfig:
    """Options of one emulator.

    Attributes:
        host: Loopback address to listen on.
        port: TCP port, 0 for a free one.
        exit_with_stdin: End when stdin reaches its end, so that a child dies with its parent.
        daily_neurons: Allocation per account and UTC day, None for a paid plan (no refusal).
        paid_plan: False refuses models that need Workers Paid (403 / 5035).
        rate_limit: Enforce requests per minute.
        rpm: Requests per minute for every task and model instead of the published ones.
        retry_after_s: Seconds put into ``Retry-After`` on 3021; None for no header, as observed.
        capacity: Inferences that may run at once; beyond it 429 / 3040. None for no bound.
        latency_ms: Least and most milliseconds an inference takes.
        answer_tokens: Least and most tokens of a chat answer.
        translation_words: Most words of a translation; the rest is left out without a word. None for no bound.
        mangle_one_in: One mark or placeholder in so many comes back damaged from translation; None for none.
        wrong_language_one_in: One text in so many is answered in a language nobody asked for; None for none.
        faults: Fault plan in the form of ``PUT /__emulator/faults``.
        tolerates_encoded_slashes: Take ``%2F`` in a model's name, which the service refuses: for clients that send it.
        request_log: File that gets one JSON line for each inference request, with a digest of each metered input.

    Raises:
        ValueError: A value makes no sense, or the host is not loopback.
    """

    host: str = "127.0.0.1"
    port: int = 0
    exit_with_stdin: bool = False
    daily_neurons: float | None = None
    paid_plan: bool = True
    rate_limit: bool = True
    rpm: int | None = None
    retry_after_s: float | None = None
    capacity: int | None = None
    latency_ms: tuple[float, float] = (0.0, 0.0)
    answer_tokens: tuple[int, int] = (8, 60)
    translation_words: int | None = None
    mangle_one_in: int | None = None
    wrong_language_one_in: int | None = None
    faults: Mapping[str, object] | None = None
    tolerates_encoded_slashes: bool = False
    request_log: Path | None = None

    def __post_init__(self) -> None:
        if self.host != "localhost" and not _is_loopback(self.host):
            raise ValueError(f"host: {self.host} is not a loopback address; the emulator has no real authentication")
        if not 0 <= self.port <= _LAST_PORT:
            raise ValueError(f"port: {self.port} is not between 0 and {_LAST_PORT:,}")
        if not 0 <= self.latency_ms[0] <= self.latency_ms[1]:
            raise ValueError(f"latency_ms: {self.latency_ms} is not 0 <= least <= most")
        if not 1 <= self.answer_tokens[0] <= self.answer_tokens[1]:
            raise ValueError(f"answer_tokens: {self.answer_tokens} is not 1 <= least <= most")
        for name in ("rpm", "translation_words", "mangle_one_in", "wrong_language_one_in"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: must be at least 1")
        if self.capacity is not None and self.capacity < 0:
            raise ValueError("capacity: must not be negative")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def load_faults(text: str) -> Mapping[str, object]:
    """Read a fault plan given as JSON or as the path of a file that holds it.

    Raises:
        ValueError: It is neither.
    """
    if not text.lstrip().startswith(("{", "[")):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except OSError as exc:
            raise ValueError(f"faults: cannot read {text}: {exc.strerror}") from exc
    try:
        plan: object = json.loads(text)
    except json.JSONDecodeError as exc:
        raise ValueError(f"faults: not JSON: {exc}; in a shell it needs quotes around it as a whole") from exc
    if isinstance(plan, list):
        return {"rules": plan}
    if not isinstance(plan, dict):
        raise ValueError('faults: expected an object like {"seed": 1, "rules": [{"fault": "3040", "share": 0.05}]}')
    return plan
