"""What an attempt is booked at. Pure.

Order of trust (design: the book is never lower than the meter by more than 0.5 %): ``usage.neurons`` in the body, which
is exact; else the header ``cf-ai-neurons``, which has two decimals only; else the price table on the counted units;
else the ceiling.
"""

from __future__ import annotations

import math
from typing import Final

from pipeline.errors import AttemptError
from pipeline.records import Usage

HALF_CENT: Final = 0.005
_EXACT_ENOUGH: Final = 1.0
_NOISE: Final = 1e-9


def most_booked(ceiling: float) -> float:
    """The most that is booked for an answer whose charge is at most `ceiling`.

    A header may round it up: of a charge of 0.006 it says 0.01. So this has to be reserved, and only where the known
    price is too low is more than this charged.
    """
    return max(ceiling, math.floor(ceiling * 100 + 0.5 + _NOISE) / 100)


def charge(usage: Usage, *, price: float | None, ceiling: float) -> float:
    """Neurons to book for an answer.

    A header of 1.00 or more is off by at most 0.5 %. Below that, rounding could hide most of the charge (a thousand
    calls of 0.004 all read 0.00), so the upper end of what rounds to it is booked, unless the counted units name a
    figure that rounds to the header.

    Args:
        usage: What the answer says.
        price: The price table applied to the units it counts, None where it counts none.
        ceiling: What was reserved.
    """
    if usage.neurons is not None:
        return usage.neurons
    if usage.header_neurons is not None:
        return _from_header(usage.header_neurons, price=price, ceiling=ceiling)
    return price if price is not None else ceiling


def charge_of_failure(error: AttemptError, *, ceiling: float) -> float | None:
    """Neurons to book for an attempt that failed; None where nothing was charged.

    Refusals (429, 4xx) cost nothing visible (public clients, 2026-11-22). Where the model may have run and no charge is
    named, the ceiling is booked: nothing official says that failed requests are free.

    Args:
        error: What the attempt ended with.
        ceiling: The most it can have cost, by what the run's own answers show of its inputs.
    """
    if error.neurons is not None:
        return _from_header(error.neurons, price=None, ceiling=ceiling)
    return ceiling if error.maybe_billed else None


def _from_header(header: float, *, price: float | None, ceiling: float) -> float:
    if price is not None and abs(price - header) <= HALF_CENT + _NOISE:
        return price
    if header >= _EXACT_ENOUGH:
        return header
    return max(header, min(header + HALF_CENT, ceiling))
