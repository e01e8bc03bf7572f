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
    """Spread `neurons` over days of `per_day`, of which `spent_today` are gone."""
    left, day, usd = neurons, 0, 0.0
    used = spent_today
    remaining = max(0.0, per_day - used)
    if left > 0 and remaining <= 0:
        day, used, remaining = 1, 0.0, per_day
    if left > remaining + 100 * per_day:  # many days are all alike: count them at once
        whole = math.floor((left - remaining) / per_day) - 1
        usd += whole * max(0.0, per_day - FREE_NEURONS) * USD_PER_NEURON
        left -= whole * per_day
        day += whole
    while left > 0:
        spend = min(left, remaining)
        usd += (max(0.0, used + spend - FREE_NEURONS) - max(0.0, used - FREE_NEURONS)) * USD_PER_NEURON
        left -= spend
        if left > 1e-9:
            day, used, remaining = day + 1, 0.0, per_day
        else:
            break
    return Forecast(days=day + 1 if neurons > 0 else 0, finish_date=today + timedelta(days=day), usd_beyond_free=usd)
