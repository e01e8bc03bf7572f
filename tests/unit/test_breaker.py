"""The breaker trips on a job that fails as a whole, and not on a bad patch."""

from pipeline.breaker import FIRST, WINDOW, Breaker


def test_it_trips_when_the_first_fifty_all_fail():
    breaker = Breaker(0.5)
    for _ in range(FIRST - 1):
        breaker.record(ok=False)
    assert not breaker.tripped
    breaker.record(ok=False)
    assert breaker.tripped


def test_one_success_among_the_first_keeps_it_closed():
    breaker = Breaker(0.5)
    breaker.record(ok=True)
    for _ in range(FIRST):
        breaker.record(ok=False)
    assert not breaker.tripped


def test_it_trips_when_more_than_the_share_of_the_last_two_hundred_failed():
    breaker = Breaker(0.5)
    for _ in range(WINDOW):
        breaker.record(ok=True)
    for _ in range(WINDOW // 2):
        breaker.record(ok=False)
    assert not breaker.tripped
    breaker.record(ok=False)
    assert breaker.tripped


def test_old_failures_are_forgotten():
    breaker = Breaker(0.1)
    for _ in range(3):
        for _ in range(15):
            breaker.record(ok=False)
        for _ in range(WINDOW):
            breaker.record(ok=True)
            assert not breaker.tripped
