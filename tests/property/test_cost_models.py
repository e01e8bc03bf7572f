"""Whatever a model charges: the engine with the real book never spends more than the budget, at any concurrency (P3).

Virtual time, a service with a meter of its own, and two hundred ways of charging: by the ceiling, far below it, rarely
all of it, growing in mid-run; answers of any delay, refusals and time-outs between them.
"""

import asyncio
import heapq
import os
import random
import string
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.budget import BudgetSession, Ledger
from pipeline.engine import Engine
from pipeline.errors import ModelTimedOut, OutOfCapacity, ServerFault
from pipeline.events import StopReason
from pipeline.records import Answer, Usage
from tests.support.fakes import FakeAdapter, Street, record, run_inline
from tests.support.figures import figure

MODELS = 200
CHARGES = {
    "the ceiling": lambda *_: 1.0,
    "any share of it": lambda rng, _: rng.random(),
    "a quarter": lambda rng, _: rng.uniform(0.2, 0.3),
    "nearly nothing, rarely all": lambda rng, _: 1.0 if rng.random() < 0.05 else 0.01,
    "more and more": lambda _, n: min(1.0, 0.1 + n / 400),
    "nothing": lambda *_: 0.0,
}
TOO_MUCH = {
    "half as much again": lambda *_: 1.5,
    "twice, rarely": lambda rng, _: 2.0 if rng.random() < 0.05 else 0.5,
}


class Watched(BudgetSession):
    """The real book, which notes by how much a charge was above what was set aside for it when it left."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.excesses, self._reserved = [], {}

    async def reserve(self, neurons):
        hold = await super().reserve(neurons)
        self._reserved[hold] = hold.neurons
        return hold

    def settle(self, reservation, neurons):
        self.excesses.append(max(0.0, neurons - self._reserved.pop(reservation)))
        super().settle(reservation, neurons)


class Metered:
    """Charges requests by a model, and counts."""

    def __init__(self, charges, rng):
        self.charges, self.rng, self.meter, self.n = charges, rng, 0.0, 0
        self.failing = rng.choice([0.0, 0.0, 0.1])

    def behave(self, payload, n):
        self.n = n
        ceiling = sum(float(text.partition("@")[2]) for text in payload["text"])
        charge = ceiling * self.charges(self.rng, n)
        if self.rng.random() < self.failing:
            error = self.rng.choice([ServerFault, OutOfCapacity, ModelTimedOut])(500, None, "x")
            error.neurons = charge if isinstance(error, ModelTimedOut) else 0.0
            self.meter += error.neurons
            return error
        self.meter += charge
        return Answer(list(payload["text"]), Usage(neurons=charge), 5.0)


def texts(rng, spread):
    """Records of words with a ceiling each, neurons."""
    for at in range(100_000):
        words = "".join(rng.choices(string.ascii_lowercase, k=60))
        yield record(at, f"{words}@{rng.lognormvariate(0.0, spread):.4f}")


async def spend(seed, charges, folder):
    rng = random.Random(seed)
    concurrency = round(2 ** rng.uniform(0, 8))
    batch = rng.choice([1, 1, 4, 20])
    budget = rng.choice([20, 60, 150]) * batch
    service = Metered(charges, rng)
    latency = rng.choice([0.05, 1.0, 20.0])
    street = Street(
        (),
        adapter=FakeAdapter(batch=batch),
        behave=service.behave,
        latency_s=lambda _: rng.uniform(0.1, 2.0) * latency,
        concurrency=concurrency,
        attempts=3,
        abort_share=1.0,
    )
    with Ledger(folder / f"book-{seed}", street.clock) as ledger:
        ledger._db.execute("PRAGMA synchronous = OFF")
        async with Watched(
            ledger, account="acc", job_id="j", job_name="j", model="m", clock=street.clock, neurons_per_day=budget
        ) as book:
            lane = replace(street.parts.lanes[0], budget=book, budget_limit=budget)
            engine = Engine(replace(street.parts, lanes=[lane]))
            async with asyncio.TaskGroup() as group:
                ticker = group.create_task(beat(book))
                work = texts(rng, rng.choice([0.0, 0.5, 1.5]))
                reason = await engine.run(item for item, _ in zip(work, range(500 * batch), strict=False))
                ticker.cancel()
            booked = book.state().spent
    return service, reason, budget, concurrency, booked, book.excesses


async def beat(book):
    while True:
        await asyncio.sleep(1.0)
        await book.heartbeat()


@pytest.fixture(scope="module")
def folder():
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def spent(name, seeds, folder):
    """Spend a budget under as many models of a kind; the share of each that was used, where work was left."""
    charges = (CHARGES | TOO_MUCH)[name]
    used = []
    for seed in range(seeds):
        service, reason, budget, concurrency, booked, excesses = run_inline(spend(f"{name} {seed}", charges, folder))
        over = sum(heapq.nlargest(concurrency, excesses))  # of what was in flight at once
        where = f"{name}, seed {seed}: {service.meter} of {budget} at concurrency {concurrency}"
        assert service.meter <= budget + over + 1e-6, where
        assert service.meter <= booked + 1e-6, where
        if name in CHARGES:
            assert over == 0.0, where
        if reason is StopReason.BUDGET_SPENT:
            used.append(service.meter / budget)
    figure(
        "cost_model", model=name, seeds=seeds, least=round(min(used, default=0), 4), most=round(max(used, default=0), 4)
    )
    return used


@pytest.mark.parametrize("name", [*CHARGES, *TOO_MUCH])
def test_no_way_of_charging_spends_more_than_the_budget(folder, name):
    """Nothing above the budget where no charge is above its ceiling; else what those in flight cost beyond it."""
    spent(name, 4, folder)


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [*CHARGES, *TOO_MUCH])
def test_no_way_of_charging_spends_more_at_length(folder, name):
    """The same for two hundred models."""
    spent(name, MODELS // len(CHARGES | TOO_MUCH), folder)
