"""What every budget keeps: the fake of the unit tests and the real one are held to the same."""

import asyncio
import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.budget import BudgetSession, Ledger
from pipeline.clock import SystemClock
from pipeline.errors import BudgetExhausted
from tests.support.fakes import FakeBudget


@contextlib.asynccontextmanager
async def fake(limit, _):
    yield FakeBudget(limit)


@contextlib.asynccontextmanager
async def real(limit, folder):
    clock = SystemClock()
    with Ledger(folder / "ledger.sqlite3", clock) as ledger:
        async with BudgetSession(
            ledger, account="a", job_id="j", job_name="j", model="m", neurons_per_day=limit, clock=clock
        ) as session:
            yield session


@pytest.fixture(params=[fake, real], ids=["fake", "real"])
def opened(request, tmp_path):
    """Open a budget of so many neurons."""
    return lambda limit: request.param(limit, tmp_path)


async def test_what_is_reserved_is_known_by_its_amount(opened):
    """The engine books by it."""
    async with opened(10.0) as budget:
        hold = await budget.reserve(2.5)
        assert hold.neurons == 2.5
        assert budget.state().reserved == pytest.approx(2.5)
        budget.release(hold)


async def test_settled_is_spent_and_released_is_free(opened):
    """The book says what was done."""
    async with opened(10.0) as budget:
        budget.settle(await budget.reserve(4.0), 1.5)
        budget.release(await budget.reserve(8.5))
        state = budget.state()
        assert (state.spent, state.reserved, state.remaining) == pytest.approx((1.5, 0.0, 8.5))


async def test_a_reservation_is_closed_once(opened):
    """Twice is a bug, and is told."""
    async with opened(10.0) as budget:
        hold = await budget.reserve(1.0)
        budget.settle(hold, 1.0)
        for close in (lambda: budget.settle(hold, 1.0), lambda: budget.release(hold)):
            with pytest.raises(RuntimeError):
                close()
        assert budget.state().spent == pytest.approx(1.0)


async def test_what_does_not_fit_is_refused_with_what_would(opened):
    """And what would fit can then be reserved."""
    async with opened(10.0) as budget:
        budget.settle(await budget.reserve(7.0), 7.0)
        with pytest.raises(BudgetExhausted) as caught:
            await budget.reserve(4.0)
        assert (caught.value.room, caught.value.asked) == pytest.approx((3.0, 4.0))
        budget.release(await budget.reserve(caught.value.room))


async def test_who_does_not_fit_waits_for_those_in_flight(opened):
    """Not refused while a settlement may still free enough."""
    async with opened(10.0) as budget, asyncio.timeout(5):
        held = await budget.reserve(9.0)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(budget.reserve(5.0))
            await asyncio.sleep(0.02)
            assert not waiting.done()
            budget.settle(held, 2.0)
        budget.release(waiting.result())


async def test_who_waits_in_vain_is_refused_in_the_end(opened):
    """The last settlement decides."""
    async with opened(10.0) as budget, asyncio.timeout(5):
        held = await budget.reserve(9.0)
        waiting = asyncio.ensure_future(budget.reserve(5.0))
        await asyncio.sleep(0.02)
        budget.settle(held, 9.0)
        with pytest.raises(BudgetExhausted):
            await waiting


async def test_who_is_cancelled_while_waiting_leaves_nothing_behind(opened):
    """No reservation without somebody to close it."""
    async with opened(10.0) as budget, asyncio.timeout(5):
        held = await budget.reserve(9.0)
        waiting = asyncio.ensure_future(budget.reserve(5.0))
        await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.wait([waiting])
        budget.release(held)
        assert budget.state().reserved == 0
        budget.release(await budget.reserve(10.0))


async def test_a_charge_above_its_ceiling_is_booked_as_it_is(opened):
    """The book records the truth."""
    async with opened(10.0) as budget:
        budget.settle(await budget.reserve(1.0), 3.0)
        assert budget.state().spent == pytest.approx(3.0)


@pytest.mark.parametrize("neurons", [-1.0, float("inf"), float("nan")])
async def test_what_is_no_amount_is_refused(opened, neurons):
    """And the reservation stays as it was."""
    async with opened(10.0) as budget:
        with pytest.raises(ValueError, match="finite"):
            await budget.reserve(neurons)
        hold = await budget.reserve(1.0)
        with pytest.raises(ValueError, match="finite"):
            budget.settle(hold, neurons)
        budget.release(hold)


@given(
    st.lists(
        st.tuples(st.floats(0, 6), st.sampled_from(["settle", "settle", "release", "keep"]), st.floats(0, 1)),
        max_size=30,
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("which", [fake, real], ids=["fake", "real"])
def test_settled_and_reserved_never_pass_the_budget(which, tmp_path_factory, steps):
    """P3, on any sequence of reservations and ends."""

    async def main():
        async with which(20.0, tmp_path_factory.mktemp("ledger")) as budget:
            kept = []
            for ceiling, end, share in steps:
                try:
                    hold = await asyncio.wait_for(budget.reserve(ceiling), 0.02)
                except (BudgetExhausted, TimeoutError):
                    continue
                state = budget.state()
                assert state.spent + state.reserved <= 20.0 + 1e-6
                if end == "settle":
                    budget.settle(hold, ceiling * share)
                elif end == "release":
                    budget.release(hold)
                else:
                    kept.append(hold)
            for hold in kept:
                budget.release(hold)
            assert budget.state().reserved == pytest.approx(0.0, abs=1e-9)

    asyncio.run(main())
