"""Limits: never more than the rate in any minute, never more in flight than the bound, and everyone pauses together."""

import asyncio
from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.limits import AdaptiveBound, Gate, Pace
from tests.support.virtual import LoopClock, run_virtual


def departures(per_minute, n, *, workers=8, at_cool_down=None, clock=None):
    """Times at which `n` requests leave, workers asking as fast as they may."""
    clock = clock or LoopClock()

    async def main():
        pace = Pace(per_minute, clock)
        times = []

        async def worker():
            while len(times) < n:
                await pace.wait()
                times.append(clock.monotonic())
                if at_cool_down and len(times) == at_cool_down[0]:
                    pace.cool_down(at_cool_down[1])

        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(worker())
        return times[:n]

    return run_virtual(main())


@pytest.mark.parametrize("per_minute", [1, 20, 300, 3000, 12_000])
def test_no_window_of_a_minute_sees_more_than_the_rate(per_minute):
    times = departures(per_minute, min(3 * per_minute + 2, 2 * per_minute + 1_000))
    assert times[-1] - times[0] > 60
    start = 0
    most = 0
    for end, at in enumerate(times):
        while at - times[start] > 60:
            start += 1
        most = max(most, end - start + 1)
    assert most <= per_minute


@pytest.mark.parametrize("per_minute", [20, 299, 300, 720, 1500, 3000])
def test_no_window_at_the_service_sees_more_though_requests_arrive_unevenly(per_minute):
    """One may take up to 0.6 s longer on its way than those behind it, so the service counts up to 60.6 s of ours."""
    times = departures(per_minute, 2 * per_minute + 20)
    assert max(bisect_right(times, at + 60.6) - place for place, at in enumerate(times)) <= per_minute


class Unasked(LoopClock):
    """Wall time that nobody may ask for."""

    def now(self):
        raise AssertionError("the wall clock may be set back or forward")


def test_a_wall_clock_that_jumps_changes_no_pace():
    """Pace and cool-down go by the time that only goes on."""
    plain = departures(600, 40, at_cool_down=(20, 45.0))
    assert departures(600, 40, at_cool_down=(20, 45.0), clock=Unasked()) == plain


@pytest.mark.parametrize("per_minute", [300, 3000])
def test_at_least_98_percent_of_the_rate_is_used(per_minute):
    times = departures(per_minute, 3 * per_minute)
    assert len(times) / (times[-1] - times[0]) * 60 >= 0.98 * per_minute


def test_requests_are_spaced_evenly_from_the_first():
    times = departures(60, 10)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) >= 1.0


def test_nobody_leaves_during_a_cool_down():
    times = departures(600, 40, at_cool_down=(20, 45.0))
    paused_at = times[19]
    assert not [at for at in times[20:] if at < paused_at + 45]


def test_a_longer_cool_down_is_not_shortened_by_a_later_shorter_one():
    async def main():
        pace = Pace(60, LoopClock())
        pace.cool_down(30)
        pace.cool_down(5)
        return pace.cooling_s

    assert run_virtual(main()) == pytest.approx(30)


async def test_the_gate_bounds_what_is_in_flight_and_serves_in_order():
    gate = Gate(AdaptiveBound(ceiling=3))
    order, most = [], 0

    async def one(index):
        nonlocal most
        async with gate.slot():
            order.append(index)
            most = max(most, gate.in_flight)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for index in range(12):
            group.create_task(one(index))
    assert most == 3
    assert order == sorted(order)
    assert gate.in_flight == 0


async def test_a_cancelled_waiter_passes_its_slot_on():
    gate = Gate(AdaptiveBound(ceiling=1))
    done = []

    async def one(index):
        async with gate.slot():
            done.append(index)

    async with asyncio.TaskGroup() as group:
        async with gate.slot():
            first = group.create_task(one(1))
            group.create_task(one(2))
            await asyncio.sleep(0)
        first.cancel()  # its turn has been granted, but it has not run yet
    assert done == [2]
    assert gate.in_flight == 0


async def test_what_has_landed_makes_room_at_the_service_but_counts_until_it_is_safe():
    """Of a ceiling of four, two may be in flight: two more leave when those have landed, and then nobody."""
    bound = AdaptiveBound(ceiling=4)
    bound.bound = 2
    gate = Gate(bound)
    entered, safe = [], asyncio.Event()

    async def one(index):
        async with gate.slot() as slot:
            entered.append(index)
            await asyncio.sleep(0)
            slot.answered()
            await safe.wait()

    async with asyncio.TaskGroup() as group:
        for index in range(9):
            group.create_task(one(index))
        for _ in range(20):
            await asyncio.sleep(0)
        assert entered == [0, 1, 2, 3]
        assert (gate.in_flight, gate.unsecured) == (0, 4)
        safe.set()
    assert entered == [*range(9)]
    assert (gate.in_flight, gate.unsecured) == (0, 0)


def test_repr_tells_the_state():
    assert repr(Gate(AdaptiveBound(ceiling=4))) == "<Gate 0/4 in flight, 0/4 unsecured, 0 waiting>"


def simulate(bound, capacity, rounds):
    """Feed a bound from a service that refuses what is beyond `capacity`; return (answered, refused)."""
    answered = refused = 0
    for _ in range(rounds):
        in_flight = bound.bound
        for index in range(in_flight):
            if index < capacity:
                bound.answered(in_flight, bound.era)
                answered += 1
            else:
                bound.refused(in_flight, bound.era)
                refused += 1
    return answered, refused


def test_the_bound_finds_a_hidden_capacity_and_keeps_to_it():
    bound = AdaptiveBound(ceiling=256)
    simulate(bound, 32, 50)
    answered, refused = simulate(bound, 32, 500)
    assert 28 <= bound.bound <= 34
    assert refused / (answered + refused) < 0.05


def test_the_bound_reaches_its_ceiling_where_nothing_refuses():
    bound = AdaptiveBound(ceiling=256)
    simulate(bound, 10_000, 40)
    assert bound.bound == 256


def test_a_few_random_refusals_do_not_slow_the_run_down():
    bound = AdaptiveBound(ceiling=64)
    for index in range(20_000):
        if index % 20 == 7:
            bound.refused(bound.bound, bound.era)
        else:
            bound.answered(bound.bound, bound.era)
    assert bound.bound >= 60


def test_a_flood_of_refusals_tells_the_capacity_at_once():
    """Refusals come back while 32 are being answered: no more than a handful is needed."""
    bound = AdaptiveBound(ceiling=256)
    simulate(bound, 10_000, 3)
    assert bound.bound == 64
    for index in range(6):
        bound.refused(max(33, bound.bound - index), bound.era)
    for _ in range(6):
        bound.refused(max(33, bound.bound // 2 + 1), bound.era)
    assert 32 <= bound.bound <= 66


def test_what_left_before_the_bound_fell_does_not_count():
    """Late refusals of the old level would push the new one down."""
    bound = AdaptiveBound(ceiling=64)
    era = bound.era
    for _ in range(6):
        bound.refused(9, era)
    assert bound.bound == 8
    for _ in range(200):
        bound.refused(9, era)
    assert bound.bound == 8


def test_the_bound_recovers_when_capacity_grows():
    bound = AdaptiveBound(ceiling=64)
    simulate(bound, 4, 200)
    assert bound.bound <= 6
    simulate(bound, 64, 3000)
    assert bound.bound == 64


@given(st.lists(st.booleans(), max_size=2000), st.integers(1, 300))
@settings(max_examples=50)
def test_the_bound_stays_between_one_and_its_ceiling(outcomes, ceiling):
    bound = AdaptiveBound(ceiling=ceiling)
    for ok in outcomes:
        (bound.answered if ok else bound.refused)(bound.bound, bound.era)
        assert 1 <= bound.bound <= ceiling
