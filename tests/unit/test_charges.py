"""What is booked is never lower than the meter by more than 0.5 %."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.charges import charge, charge_of_failure, most_booked
from pipeline.errors import InvalidRequest, OutOfCapacity, RequestTimedOut, ResponseTruncated, ServerFault
from pipeline.records import Usage


def test_the_bodys_figure_comes_first():
    assert charge(Usage(neurons=1.23456, header_neurons=1.23), price=9.0, ceiling=9.0) == 1.23456


def test_without_a_figure_the_price_table_decides_and_without_units_the_ceiling():
    assert charge(Usage(), price=0.75, ceiling=2.0) == 0.75
    assert charge(Usage(), price=None, ceiling=2.0) == 2.0


def test_a_price_that_rounds_to_the_header_is_taken():
    assert charge(Usage(header_neurons=0.02), price=0.0234, ceiling=1.0) == 0.0234


def test_a_price_that_disagrees_with_the_header_is_not():
    assert charge(Usage(header_neurons=172.80), price=57.6, ceiling=200.0) == 172.80


@given(st.floats(0.0, 1000.0, allow_nan=False), st.floats(1.0, 5.0))
def test_header_rounding_never_makes_the_book_lower_by_more_than_half_a_percent(meter, slack):
    booked = charge(Usage(header_neurons=round(meter, 2)), price=None, ceiling=meter * slack)
    assert booked >= meter * 0.995 - 1e-9


@given(st.floats(0.0, 3.0), st.floats(0.0, 1.0), st.booleans())
def test_what_is_reserved_covers_what_is_booked_and_no_more_than_rounding_beyond_the_ceiling(ceiling, share, is_known):
    """However the header rounds a charge within the ceiling; what passes it was charged beyond the ceiling."""
    most = most_booked(ceiling)
    assert ceiling <= most <= ceiling + 0.005 + 1e-9
    for meter in (ceiling * share, ceiling):
        booked = charge(Usage(header_neurons=round(meter, 2)), price=meter if is_known else None, ceiling=most)
        assert booked <= most


@pytest.mark.parametrize(
    ("ceiling", "most"),
    [(0.0, 0.0), (0.004, 0.004), (0.0062, 0.01), (0.285, 0.29), (0.284, 0.284), (1.5, 1.5), (7.006, 7.01)],
)
def test_what_a_header_may_round_up_to_is_reserved(ceiling, most):
    """Half a hundredth counts as up, also where no float holds it exactly."""
    assert most_booked(ceiling) == most


@pytest.mark.parametrize(
    ("header", "price", "ceiling", "booked"),
    [
        (0.00, None, 1.0, 0.005),
        (0.00, None, 0.003, 0.003),
        (0.99, None, 2.0, 0.995),
        (1.00, None, 2.0, 1.00),
        (0.99, None, 0.992, 0.992),
        (0.02, None, 0.01, 0.02),
        (0.50, 0.505, 1.0, 0.505),
        (0.50, 0.495, 1.0, 0.495),
        (0.50, 0.5051, 1.0, 0.505),
        (0.50, 0.4949, 1.0, 0.505),
        (3.00, 2.996, 9.0, 2.996),
    ],
)
def test_a_header_is_booked_at_its_upper_end_where_it_is_rough(header, price, ceiling, booked):
    assert charge(Usage(header_neurons=header), price=price, ceiling=ceiling) == pytest.approx(booked, abs=1e-12)


@pytest.mark.parametrize(("header", "ceiling", "booked"), [(0.0, 1.0, 0.005), (0.0, 0.002, 0.002), (0.4, 9.0, 0.405)])
def test_what_a_header_may_hide_is_booked_up_to_the_ceiling(header, ceiling, booked):
    assert charge(Usage(header_neurons=header), price=None, ceiling=ceiling) == pytest.approx(booked)


@given(st.lists(st.floats(0.0001, 0.02), min_size=50, max_size=200))
def test_many_small_calls_do_not_hide_their_cost(meters):
    booked = sum(charge(Usage(header_neurons=round(meter, 2)), price=None, ceiling=meter * 4) for meter in meters)
    assert booked >= 0.995 * sum(meters)


@pytest.mark.parametrize("error", [OutOfCapacity(429, 3040, "busy"), InvalidRequest(400, 5006, "bad")])
def test_refusals_cost_nothing(error):
    assert charge_of_failure(error, ceiling=3.0) is None


@pytest.mark.parametrize("error", [ServerFault(500, 3043, "x"), RequestTimedOut("x"), ResponseTruncated("x")])
def test_where_the_model_may_have_run_the_ceiling_stays_booked(error):
    assert charge_of_failure(error, ceiling=3.0) == 3.0


def test_a_failed_answer_that_names_its_charge_is_booked_at_it():
    error = ResponseTruncated("cut")
    error.neurons = 1.5
    assert charge_of_failure(error, ceiling=3.0) == 1.5
