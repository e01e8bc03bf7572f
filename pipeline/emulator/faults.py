"""Which request meets which fault: a seeded, ordered list of rules.

Deciding is pure and lives here; putting a fault on the wire is `pipeline.emulator.sabotage`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.emulator.refusals import REFUSALS

INSTEAD: Final = frozenset({"500", "503", "html502", "reset", "hang", "success_false", "redirect", "gzip_bomb"})
"""Faults that happen instead of an inference: nothing runs and nothing is metered. So are all codes of `REFUSALS`."""

AFTER: Final = frozenset(
    {
        "truncated",
        "reset_mid_body",
        "slow_body",
        "garbage_json",
        "invalid_utf8",
        "nan_vector",
        "wrong_count",
        "wrong_dim",
        "null_content",
        "bad_json",
        "big_body",
        "deep_json",
    }
)
"""Faults of the answer: the inference ran and is metered."""

KINDS: Final = INSTEAD | AFTER | {"latency"} | {str(code) for code in REFUSALS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of a fault plan; every condition given must hold.

    Attributes:
        fault: One of `KINDS`.
        share: Probability for each request that meets the other conditions.
        match: Text that must occur anywhere in the request body.
        after: Ordinal of the first request it may meet, counted from 1 since the plan was set.
        times: How often it may strike; None for no bound.
        model: Only requests to this model.
        seconds: Duration of ``latency``, ``hang``, ``slow_body``, and the wait before 3046.
        mb: Size of ``big_body`` and ``gzip_bomb`` in megabytes.
        retry_after: Seconds of a ``Retry-After`` header on a code.
    """

    fault: str
    share: float = 1.0
    match: str | None = None
    after: int = 1
    times: int | None = None
    model: str | None = None
    seconds: float | None = None
    mb: float = 16.0
    retry_after: float | None = None

    def __post_init__(self) -> None:
        if self.fault not in KINDS:
            raise ValueError(f"fault: unknown {self.fault!r}; known: {', '.join(sorted(KINDS))}")
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share: {self.share} is not between 0 and 1")


@dataclass(frozen=True, slots=True)
class Struck:
    """What one request meets.

    Attributes:
        delay_s: Seconds of extra latency.
        rule: The fault, None for none.
    """

    delay_s: float = 0.0
    rule: Rule | None = None


NONE: Final = Struck()

_TEXTS: Final = ("fault", "match", "model")
_NUMBERS: Final = ("share", "after", "times", "seconds", "mb", "retry_after")


def read_rule(entry: object) -> Rule:
    """Read one rule of a plan.

    Raises:
        ValueError: It is not one.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"rules: expected an object, not {entry!r}")
    for key, value in entry.items():
        if key in _TEXTS:
            good = isinstance(value, str) or (key == "fault" and isinstance(value, int))
        else:
            good = key in _NUMBERS and isinstance(value, int | float) and not isinstance(value, bool)
        if not good:
            raise ValueError(f"rules: unusable {key!r}: {value!r}")
    if "fault" not in entry:
        raise ValueError("rules: a rule needs a fault")
    return Rule(**{**entry, "fault": str(entry["fault"])})


class FaultPlan:
    """Decides request by request, in order of arrival.

    Args:
        plan: ``{"seed": 1, "rules": [...]}``; None or empty for no faults.

    Raises:
        ValueError: The plan is not one.
    """

    def __init__(self, plan: Mapping[str, object] | None = None) -> None:
        plan = plan or {}
        unknown = set(plan) - {"seed", "rules"}
        if unknown:
            raise ValueError(f"faults: unknown {', '.join(sorted(unknown))}; known: seed, rules")
        rules = plan.get("rules", [])
        if not isinstance(rules, list):
            raise ValueError("faults: rules must be a list")
        self.rules = tuple(read_rule(entry) for entry in rules)
        self._struck = [0] * len(self.rules)
        self._random = random.Random(str(plan.get("seed", 0)))  # noqa: S311 - reproducible on purpose
        self._n = 0

    def strike(self, body: bytes, model: str) -> Struck:
        """Say what the next request meets: at most one fault, and any latency rules before it."""
        if not self.rules:
            return NONE
        self._n += 1
        delay_s = 0.0
        for place, rule in enumerate(self.rules):
            drawn = self._random.random() if rule.share < 1.0 else 0.0
            if drawn >= rule.share or not self._applies(place, rule, body, model):
                continue
            self._struck[place] += 1
            if rule.fault != "latency":
                return Struck(delay_s, rule)
            delay_s += rule.seconds or 0.0
        return Struck(delay_s)

    def _applies(self, place: int, rule: Rule, body: bytes, model: str) -> bool:
        return (
            self._n >= rule.after
            and (rule.times is None or self._struck[place] < rule.times)
            and (rule.model is None or rule.model == model)
            and (rule.match is None or rule.match.encode() in body)
        )
