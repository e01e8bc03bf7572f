"""The breaker trips on a job that fails as a whole, and not on a bad patch."""

import pytest

from pipeline.breaker import Breaker

BEGINNING = 50
LATEST = 200


def tripped(*outcomes, share=0.5):
    """Whether it has tripped, and after how many records, of as many that failed (False) or not (True) each time."""
    breaker, n = Breaker(share), 0
    for ok, times in outcomes:
        for _ in range(times):
            breaker.record(ok=ok)
            n += 1
            if breaker.tripped:
                return n
    return None


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_it_trips_when_the_first_fifty_all_fail(share):
    assert tripped((False, 1000), share=share) == BEGINNING


def test_one_success_among_the_first_keeps_it_closed():
    assert tripped((False, 20), (True, 1), (False, LATEST - 22)) is None


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_it_trips_when_more_than_the_share_of_the_last_two_hundred_failed(share):
    n = int(share * LATEST)
    assert tripped((True, LATEST), (False, n), share=share) is None
    assert tripped((True, LATEST), (False, 1000), share=share) == LATEST + n + 1


def test_a_share_needs_two_hundred_records():
    """Of fewer it says too little."""
    assert tripped((True, 1), (False, 1000)) == LATEST


def test_a_share_of_all_never_trips_once_something_was_answered():
    assert tripped((True, 1), (False, 1000), share=1.0) is None


def test_old_failures_are_forgotten():
    assert tripped(*[(True, 190), (False, 10)] * 20, share=0.05) is None
