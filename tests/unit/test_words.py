"""Numbers as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.words import counted, neurons


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (3e-10, "0"),
        (1e-9, "0.000000001"),
        (0.001, "0.001"),
        (0.0012345, "0.00123"),
        (0.0999, "0.0999"),
        (0.09999, "0.10"),
        (0.1, "0.10"),
        (0.125, "0.12"),
        (1.0, "1"),
        (39.7123, "39.71"),
        (39.999, "40.00"),
        (9_999.5, "9,999.50"),
        (10_000.0, "10,000"),
        (1_234_567.891, "1,234,567.89"),
        (-0.5, "-0.50"),
    ],
)
def test_neurons_can_be_read_whatever_their_size(amount, said):
    """Whole ones alone, others with two decimals, small ones with three digits."""
    assert neurons(amount) == said


@given(st.floats(1e-9, 1e9))
def test_what_is_said_is_what_is_meant(amount):
    """Within half a hundredth, and within half a percent; nothing that counts reads as nothing."""
    said = float(neurons(amount).replace(",", ""))
    assert said > 0
    assert said == pytest.approx(amount, abs=0.005 + 1e-9)
    assert said == pytest.approx(amount, rel=0.051 if amount < 0.2 else 0.03, abs=6e-10)
    assert "e" not in neurons(amount)


def test_a_number_goes_with_its_noun():
    """One, none and many."""
    assert [counted(n, "record") for n in (0, 1, 2_000)] == ["0 records", "1 record", "2,000 records"]
    assert counted(2, "reply", "replies") == "2 replies"
