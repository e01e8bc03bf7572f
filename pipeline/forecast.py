"""How many days a number of neurons takes at a budget, and what it costs beyond the free allocation. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

FREE_NEURONS: Final = 10_000.0
USD_PER_NEURON: Final = 0.011 / 1000
"""Free neurons per account and day, and the price of one beyond them.

Source: developers.cloudflare.com/workers-ai/platform/pricing/, 2026-08-28.
"""

_NOISE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Forecast:
    """When it ends and what it costs, at this budget.

    Attributes:
        days: UTC days on which neurons are spent, today included.
        finish_date: The last of them.
        usd_beyond_free: Beyond the account's free allocation, on a paid plan.
    """

    days: int
    finish_date: date
    usd_beyond_free: float


def is_total_spent(total: float | None, spent: float, *, remaining_today: float) -> bool:
    """Whether it is the job's own allowance that ends it, and not the day's, which midnight renews.

    Args:
        total: ``budget.neurons_total``; None for no limit.
        spent: By the job since it began.
        remaining_today: Of the day's allowance.
    """
    return total is not None and total - spent <= max(0.01 * total, remaining_today)


def forecast(neurons: float, *, per_day: float, spent_today: float, today: date) -> Forecast:
    """Spread `neurons` over days of `per_day`, of which `spent_today` are gone; nothing ends after the year 9999."""
    first = min(neurons, max(0.0, per_day - spent_today))
    rest = neurons - first
    further = math.ceil(min(rest / per_day - _NOISE, (date.max - today).days))
    beyond_free = _beyond_free(spent_today + first) - _beyond_free(spent_today)
    if further:
        beyond_free += (further - 1) * _beyond_free(per_day) + _beyond_free(rest - (further - 1) * per_day)
    return Forecast(
        days=further + 1 if neurons > 0 else 0,
        finish_date=today + timedelta(days=further),
        usd_beyond_free=beyond_free * USD_PER_NEURON,
    )


def _beyond_free(neurons: float) -> float:
    return max(0.0, neurons - FREE_NEURONS)
