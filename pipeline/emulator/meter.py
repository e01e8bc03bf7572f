"""What each account has used on each UTC day, by model; exact, not rounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime


@dataclass(slots=True)
class Meter:
    """Sums of one account, day and model."""

    neurons: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0
    audio_seconds: float = 0.0
    tiles: float = 0.0


class Meters:
    """The book of all accounts.

    Args:
        now: Wall time, aware.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._book: dict[tuple[str, date], dict[str, Meter]] = {}
        self._totals: dict[tuple[str, date], float] = {}

    def today(self) -> date:
        """Return the UTC day that is charged now."""
        return self._now().astimezone(UTC).date()

    def charge(
        self,
        account: str,
        model: str,
        *,
        neurons: float | None,
        input_tokens: int,
        output_tokens: int,
        audio_seconds: float = 0.0,
        tiles: float = 0.0,
    ) -> None:
        """Book one inference; `neurons` of None (no published price) counts as nothing."""
        key = (account, self.today())
        meter = self._book.setdefault(key, {}).setdefault(model, Meter())
        meter.neurons += neurons or 0.0
        meter.input_tokens += input_tokens
        meter.output_tokens += output_tokens
        meter.requests += 1
        meter.audio_seconds += audio_seconds
        meter.tiles += tiles
        self._totals[key] = self._totals.get(key, 0.0) + (neurons or 0.0)

    def spent(self, account: str) -> float:
        """Return the neurons of an account on the present UTC day."""
        return self._totals.get((account, self.today()), 0.0)

    def rows(self, account: str, first: date, last: date) -> Iterator[tuple[date, str, Meter]]:
        """Yield (day, model, sums) of an account from `first` to `last`, both included."""
        for (owner, day), by_model in self._book.items():
            if owner == account and first <= day <= last:
                for model, meter in by_model.items():
                    yield day, model, meter

    def today_by_model(self) -> dict[str, Meter]:
        """Sum the present UTC day over all accounts."""
        sums: dict[str, Meter] = {}
        for (_, day), by_model in self._book.items():
            if day == self.today():
                for model, meter in by_model.items():
                    into = sums.setdefault(model, Meter())
                    into.neurons += meter.neurons
                    into.input_tokens += meter.input_tokens
                    into.output_tokens += meter.output_tokens
                    into.requests += meter.requests
        return sums

    def clear(self) -> None:
        """Forget everything."""
        self._book.clear()
        self._totals.clear()
