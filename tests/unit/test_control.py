"""A wish to end a run, from outside: once lets it finish, twice does not, and it is heard at any time (P8)."""

import asyncio

import pytest

from pipeline.control import Control
from pipeline.events import StopReason
from tests.support.fakes import run_inline


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
    assert said == [("terminated", 0.0)]
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
