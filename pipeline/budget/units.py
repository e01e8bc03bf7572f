"""Neurons as whole numbers.

The book counts in units of 1e-9 neuron, as integers, so that a million small charges add up without drift and
"settled + reserved <= granted" is exact. Neurons are floats only at the border.

What is charged or set aside is rounded up, what is allowed is rounded down. Both roundings forgive a relative error
of 2**-51 (4e-16), the noise of one float multiplication: 0.07 neurons are 70,000,000 units, not 70,000,001, and a
room that was told as a float can be asked for again in full.
"""

from __future__ import annotations

import math

UNITS_PER_NEURON = 1_000_000_000
_NOISE = 2.0**-51
_UP = UNITS_PER_NEURON * (1.0 - _NOISE)
_DOWN = UNITS_PER_NEURON * (1.0 + _NOISE)


def cost_units(neurons: float) -> int:
    """Return neurons that are charged or set aside, rounded up to units.

    Raises:
        ValueError: Negative, infinite or not a number.
    """
    if not 0.0 <= neurons < math.inf:
        raise ValueError(f"neurons must be a finite number >= 0, not {neurons!r}")
    return math.ceil(neurons * _UP)


def allowance_units(neurons: float) -> int:
    """Return neurons that may be spent, rounded down to units.

    Raises:
        ValueError: Negative, infinite or not a number.
    """
    if not 0.0 <= neurons < math.inf:
        raise ValueError(f"neurons must be a finite number >= 0, not {neurons!r}")
    return math.floor(neurons * _DOWN)


def to_neurons(units: int) -> float:
    """Return units as neurons; `cost_units` of the result is never more than `units`."""
    return units / UNITS_PER_NEURON
