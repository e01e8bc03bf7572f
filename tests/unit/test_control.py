"""Ending a run from outside: once gently, twice at once, and before, between and after its passes."""

import asyncio

import pytest

from pipeline.control import Control
from pipeline.events import StopReason
from tests.support.fakes import Street, record, run_inline


def ended(during, *, grace_s=5.0, latency_s=60.0):
    """A pass of slow requests, ended by `during`, which gets the control; (street, control, seconds it took)."""

    async def main():
        control = Control()
        street = Street([record(n) for n in range(20)], latency_s=latency_s)
        control.attach(street.engine, grace_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(during(control))
            await street.run()
            took = street.clock.monotonic()
        street.check_books()
        return street, control, took

    return run_inline(main())


@pytest.mark.parametrize(("latency_s", "took", "n_answered"), [(3.0, 3.0, 4), (60.0, 6.0, 0)])
def test_a_stop_waits_for_what_is_in_flight_up_to_the_grace_period(latency_s, took, n_answered):
    async def during(control):
        await asyncio.sleep(1)
        control.stop(StopReason.TERMINATED)
        assert not control.is_killed

    street, control, seconds = ended(during, latency_s=latency_s)
    assert seconds == pytest.approx(took, abs=0.1)
    assert len(street.answered) == n_answered
    assert street.reason is control.reason is StopReason.TERMINATED


@pytest.mark.parametrize("end_at_once", [Control.stop, Control.kill])
def test_the_second_time_is_at_once_and_keeps_the_first_reason(end_at_once):
    async def during(control):
        await asyncio.sleep(1)
        control.stop(StopReason.TERMINATED)
        await asyncio.sleep(1)
        end_at_once(control)

    street, control, seconds = ended(during)
    assert seconds == pytest.approx(2.0, abs=0.1)
    assert street.endpoint.cancelled == 4
    assert (street.reason, control.reason, control.is_killed) == (StopReason.TERMINATED, StopReason.TERMINATED, True)


def test_killed_alone_it_is_an_interruption():
    async def during(control):
        await asyncio.sleep(1)
        control.kill()

    street, control, seconds = ended(during)
    assert seconds == pytest.approx(1.0, abs=0.1)
    assert (street.reason, control.reason) == (StopReason.INTERRUPTED, StopReason.INTERRUPTED)


@pytest.mark.parametrize("end", [Control.stop, Control.kill])
def test_a_stop_before_there_is_a_pass_ends_the_first_one(end):
    async def main():
        control = Control()
        assert not control.is_sending
        end(control)
        await asyncio.sleep(0.1)
        assert control.is_killed, "there is nothing to wait for"
        street = Street([record(0)])
        control.attach(street.engine, 5.0)
        assert control.is_sending
        await street.run()
        return street

    street = run_inline(main())
    assert street.reason is StopReason.INTERRUPTED
    assert street.endpoint.calls == []


def test_the_latest_pass_is_the_one_that_ends():
    async def main():
        control = Control()
        first, second = Street([record(0)]), Street([record(0)])
        control.attach(first.engine, 5.0)
        control.attach(second.engine, 5.0)
        control.stop()
        await first.run()
        await second.run()
        return first.reason, second.reason

    assert run_inline(main()) == (StopReason.COMPLETED, StopReason.INTERRUPTED)


@pytest.mark.parametrize("end", [None, Control.stop, Control.kill])
def test_a_wait_between_two_passes_ends_when_it_is_over_or_when_the_run_is_to_end(end):
    async def main():
        control = Control()
        loop = asyncio.get_running_loop()
        if end is not None:
            loop.call_later(10, end, control)
        return await control.sleep(30), loop.time()

    is_ending, took = run_inline(main())
    assert is_ending == (end is not None)
    assert took == pytest.approx(10 if end else 30, abs=0.1)


class Passes:
    """Stands for an engine: what it is told, and when."""

    def __init__(self):
        self.told = []

    def stop(self, reason):
        self.told.append((str(reason), asyncio.get_running_loop().time()))

    def kill(self):
        self.told.append(("kill", asyncio.get_running_loop().time()))


def told(wishes, *, grace_s=30.0, attached=True):
    """Let `wishes` work on a control; return what the engine was told and when, in seconds, and the control."""

    async def main():
        control, engine = Control(), Passes()
        began = asyncio.get_running_loop().time()
        if attached:
            control.attach(engine, grace_s)
        await wishes(control)
        if not attached:
            control.attach(engine, grace_s)
        await asyncio.sleep(100)
        return [(what, at - began) for what, at in engine.told], control

    return run_inline(main())


async def once(control):
    control.stop(StopReason.TERMINATED)


async def twice(control):
    control.stop(StopReason.INTERRUPTED)
    await asyncio.sleep(2)
    control.stop(StopReason.TERMINATED)


def test_what_is_in_flight_has_the_grace_period():
    """And no longer."""
    said, control = told(once, grace_s=7.0)
    assert said == [("terminated", 0.0), ("kill", pytest.approx(7.0))]
    assert control.is_killed


def test_the_second_wish_drops_what_is_in_flight():
    """At once; the first reason stays."""
    said, control = told(twice)
    assert said[:2] == [("interrupted", 0.0), ("kill", pytest.approx(2.0))]
    assert control.reason is StopReason.INTERRUPTED


def test_asked_before_there_is_a_pass_it_ends_the_first_one():
    """A signal while the input is read, or between two days."""
    said, control = told(once, attached=False)
    assert [what for what, _ in said] == ["terminated", "kill"]  # nothing is in flight that could be waited for
    assert said[1][1] < 0.1
    assert control.is_sending


def test_who_sleeps_wakes_for_it():
    """The sleep until midnight says whether it was cut short."""

    async def main():
        control = Control()
        loop = asyncio.get_running_loop()
        assert not await control.sleep(5.0)
        loop.call_later(3.0, control.stop)
        began = loop.time()
        assert await control.sleep(3_600.0)
        return loop.time() - began

    assert run_inline(main()) == pytest.approx(3.0)
