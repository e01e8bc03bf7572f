"""Stand-ins for the rooms around the engine: each keeps its interface's promises and records what was asked of it."""

# ruff: noqa: ARG002 - a fake has the form of what it stands for

import asyncio
import random
from dataclasses import dataclass, replace

import numpy as np

from pipeline.breaker import Breaker
from pipeline.engine import Engine, Parts
from pipeline.errors import BudgetExhausted, RecordUnusable
from pipeline.events import Counters
from pipeline.interfaces import BudgetState
from pipeline.lanes import Lane
from pipeline.lastmile import InputRatios
from pipeline.limits import AdaptiveBound, Gate, Pace
from pipeline.passes import run_passes
from pipeline.records import Answer, BrokenRecord, Column, Cost, Piece, Record, Request, Usage, digest
from pipeline.retry import RetryPolicy
from pipeline.rows import RowBuilder, outline_of
from pipeline.tasks.base import nothing_sent
from tests.support.virtual import LoopClock, VirtualLoop


class InlineLoop(VirtualLoop):
    """A virtual loop whose threads are plain calls, so that a run is the same every time."""

    def run_in_executor(self, executor, func, *args):
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - handed on as a thread would
            future.set_exception(error)
        return future


def run_inline(coroutine):
    """Run a coroutine on an `InlineLoop` and return its result."""
    with asyncio.Runner(loop_factory=InlineLoop) as runner:
        return runner.run(coroutine)


def record(ordinal, text="x", *, name=None, **fields):
    return Record(ordinal=ordinal, id=name or f"r{ordinal}", source="s", row=ordinal, fields={"text": text, **fields})


class FakeSource:
    """Records in memory; counts how many were read, and how often."""

    def __init__(self, items):
        self.items = list(items)
        self.n_read = 0
        self.n_readings = 0

    def read(self, wanted=None):
        self.n_readings += 1
        for item in self.items:
            self.n_read += 1
            if wanted is None or wanted(item.ordinal):
                yield item

    def files(self):
        return ["memory"]


@dataclass(eq=False)
class Hold:
    asked: float
    neurons: float
    sent: float = 0.0


class FakeBudget:
    """One allowance; refuses what a real book would refuse, and complains of whoever breaks the rules."""

    def __init__(self, limit=1e9):
        self.limit = limit
        self.settled = 0.0
        self.open = set()
        self.most = 0.0
        self.refusals = 0
        self.ratio = 1.0
        self.n_settled_unsent = 0
        self._freed = asyncio.Event()

    @property
    def reserved(self):
        return sum(hold.neurons for hold in self.open)

    async def reserve(self, neurons):
        if not 0 <= neurons < float("inf"):
            raise ValueError("neurons must be a finite number >= 0")
        while self.settled + self.reserved + neurons * self.ratio > self.limit + 1e-9:
            if not self.open:
                self.refusals += 1
                raise BudgetExhausted(room=max(0.0, self.limit - self.settled) / self.ratio, asked=neurons)
            self._freed.clear()
            await self._freed.wait()
        hold = Hold(neurons, neurons * self.ratio)
        self.open.add(hold)
        self.most = max(self.most, self.settled + self.reserved)
        return hold

    def mark_sent(self, reservation, *, presumed):
        assert 0 <= presumed < float("inf")
        if reservation not in self.open or reservation.sent:
            raise RuntimeError("sent twice, or without a reservation")
        reservation.sent = max(presumed, 1e-12)

    def learn(self, ratio):
        self.ratio = max(self.ratio, ratio)

    def settle(self, reservation, neurons):
        if not 0 <= neurons < float("inf"):
            raise ValueError("neurons must be a finite number >= 0")
        self._redeem(reservation)
        self.n_settled_unsent += not reservation.sent
        self.settled += neurons

    def release(self, reservation):
        if reservation.sent:
            raise RuntimeError("released although it was sent: it may be charged")
        self._redeem(reservation)

    def _redeem(self, reservation):
        if reservation not in self.open:
            raise RuntimeError("settled or released twice, or never reserved here")
        self.open.remove(reservation)
        self._freed.set()

    def state(self):
        return BudgetState(
            day="2026-11-22",
            budget=self.limit,
            spent=self.settled,
            reserved=self.reserved,
            job_total=self.settled,
        )


class FakeSink:
    """Keeps what it is given; `delay_s` is the disk."""

    def __init__(self, delay_s=0.0):
        self.rows, self.failures = [], []
        self.delay_s = delay_s

    async def put(self, rows, failures):
        if self.delay_s:
            written = asyncio.ensure_future(asyncio.sleep(self.delay_s))
            written.add_done_callback(lambda _: (self.rows.extend(rows), self.failures.extend(failures)))
            await asyncio.shield(written)
        else:
            await asyncio.sleep(0)
            self.rows.extend(rows)
            self.failures.extend(failures)


class FakeEndpoint:
    """Answers each call by `behave(call)`, after `latency_s` of virtual time.

    `behave` gets the payload and the number of the call from 1; it returns an `Answer`, or an exception to raise.
    """

    def __init__(self, behave=None, latency_s=1.0):
        self.behave = behave or (lambda payload, _: answer(payload))
        self.latency_s = latency_s
        self.calls = []
        self.left_at = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.cancelled = 0
        self.finished = 0

    async def call(self, payload, request=None):
        self.calls.append(payload)
        n = len(self.calls)
        self.left_at.append(asyncio.get_running_loop().time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency_s(n) if callable(self.latency_s) else self.latency_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        self.finished += 1
        outcome = self.behave(payload, n)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def answer(payload, neurons=None):
    """What the fake service says to `payload`: its texts back, charged one neuron each unless told otherwise."""
    texts = payload["text"]
    return Answer(result=list(texts), usage=Usage(neurons=len(texts) if neurons is None else neurons), latency_ms=5.0)


class FakeAdapter:
    """Sends texts, `batch` at a time; a text of several parts, split at "|", is as many pieces; "=…" is none.

    A piece's ceiling is `ceiling` neurons, or what its text says after "@".
    """

    columns = (Column("echo", "string"),)
    max_request_bytes = 10_000
    is_heavy = False
    keeps_pieces = True
    shares_pieces = False
    rows_hold_input = False

    def __init__(self, *, batch=1, ceiling=1.0, out=0.0, max_tokens=0):
        self.max_pieces = batch
        self.ceiling, self.out, self.max_tokens = ceiling, out, max_tokens

    def pieces(self, record):
        text = record.fields["text"]
        if not text:
            raise RecordUnusable("the text is empty")
        parts = [] if text.startswith("=") else text.split("|")
        return [
            Piece(
                record=record,
                content=part,
                size=len(part),
                ceiling=(float(part.partition("@")[2]) if "@" in part else self.ceiling) + self.out * self.max_tokens,
                expected=self.ceiling / 2,
                payload_key=digest(part.encode()),
                index=index,
                n_pieces=len(parts),
            )
            for index, part in enumerate(parts)
        ]

    def outline(self, record):
        pieces = self.pieces(record)
        return outline_of(pieces) if pieces else nothing_sent(digest(record.fields["text"].encode()))

    def sample(self, record):
        return self.payload(Request((self.pieces(record)[0],)))

    def hurry(self):
        pass

    def about(self):
        return {}

    def payload(self, request):
        return {"text": [piece.content for piece in request.pieces], "cap": request.output_cap}

    def cost(self, request):
        fixed = sum(piece.ceiling - self.out * self.max_tokens for piece in request.pieces)
        cap = self.max_tokens if request.output_cap is None else request.output_cap
        return Cost(input=fixed, output_per_token=self.out, max_output=cap * len(request.pieces))

    def price(self, usage):
        return None

    def input_price(self, usage, charge):
        return charge

    def parse(self, request, answer):
        if isinstance(answer.result, BaseException):
            raise answer.result
        assert answer.result == [piece.content for piece in request.pieces]
        return answer.result

    def placed(self, piece, value):
        return value

    def sent(self, record):
        return record.fields["text"].replace("|", "")

    def instead(self, piece, error):
        return ()

    def fallback(self, piece, error):
        return None

    def follow_up(self, record, answered):
        return ()

    def rows(self, record, values):
        return [{"echo": "|".join(values) or record.fields["text"]}]

    def files(self, record, values):
        return ()


class FakeIndex:
    """An output that holds nothing but what it is told."""

    def __init__(self, states=None, payloads=(), failed=()):
        self.states, self.payloads, self.failed = states or {}, set(payloads), set(failed)

    def lookup(self, id_keys, payload_keys):
        return np.array([self.states.get(bytes(key), 0) for key in id_keys], dtype=np.uint8)

    def has_payload(self, payload_keys):
        return np.array([bytes(key) in self.payloads for key in payload_keys], dtype=np.bool_)

    def failed_payload(self, payload_keys):
        return np.array([bytes(key) in self.failed for key in payload_keys], dtype=np.bool_)


class Street:
    """An engine between fakes. Make it inside the loop it runs on."""

    def __init__(
        self,
        items,
        *,
        behave=None,
        latency_s=1.0,
        adapter=None,
        limit=1e9,
        concurrency=4,
        per_minute=1_000_000,
        attempts=6,
        max_delay_s=60.0,
        abort_share=0.5,
        disk_s=0.0,
        seed=0,
        weight=1.0,
        others=(),
        memory=None,
        through_gateway=False,
    ):
        """`others`: for each further lane `behave` and `limit`, and the fields of `Lane` that set it apart."""
        self.source = FakeSource(items)
        self.endpoint = FakeEndpoint(behave, latency_s)
        self.budget = FakeBudget(limit)
        self.sink = FakeSink(disk_s)
        self.adapter = adapter or FakeAdapter()
        self.clock = LoopClock()
        self.bound = AdaptiveBound(ceiling=concurrency)
        self.events, self.marked = [], []
        self.gate = Gate(self.bound)
        self.others, self.budgets = [], [self.budget]
        self.pace = Pace(per_minute, self.clock)
        lane = Lane(
            name="first",
            account="account-1",
            model="@cf/fake/model",
            adapter=self.adapter,
            endpoint=self.endpoint,
            budget=self.budget,
            budget_limit=limit,
            gate=self.gate,
            pace=self.pace,
        )
        self.parts = Parts(
            adapter=self.adapter,
            lanes=[replace(lane, weight=weight), *(self._other(lane, **other) for other in others)],
            policy=RetryPolicy(attempts=attempts, max_delay_s=max_delay_s),
            sink=self.sink,
            rows=RowBuilder(
                self.adapter,
                (),
                include_input=False,
                tells_endpoint=bool(others),
                through_gateway=through_gateway,
            ),
            clock=self.clock,
            rng=random.Random(seed),
            observer=self.events.append,
            counters=Counters(),
            breaker=Breaker(abort_share),
            concurrency=concurrency,
            mark=self.marked.append,
            memory=memory,
        )
        self.engine = Engine(self.parts)

    def _other(self, lane, *, behave=None, limit=1e9, **fields):
        self.others.append(FakeEndpoint(behave, self.endpoint.latency_s))
        self.budgets.append(FakeBudget(limit))
        gate = Gate(AdaptiveBound(ceiling=self.bound.ceiling))
        pace = Pace(1_000_000, self.clock)
        named = {"name": f"other-{len(self.others)}", "account": f"account-{len(self.others) + 1}", **fields}
        return replace(
            lane,
            endpoint=self.others[-1],
            budget=self.budgets[-1],
            budget_limit=limit,
            gate=gate,
            pace=pace,
            ratios=InputRatios(),
            **named,
        )

    async def run(self):
        """One pass over what is not marked yet."""
        done = {item.ordinal for item in self.marked}
        self.reason = await self.engine.run(item for item in self.source.read() if item.ordinal not in done)
        return self.reason

    async def run_all(self):
        """All passes over what is not marked yet, to one model after the other."""

        def work():
            done = {item.ordinal for item in self.marked}
            return (item for item in self.source.read() if item.ordinal not in done)

        def attach(engine):
            self.engine = engine

        self.ended = await run_passes(self.parts, work, is_pending=lambda: bool(self.unmarked), attach=attach)
        self.reason = self.ended.reason
        return self.reason

    @property
    def unmarked(self):
        return {item.ordinal for item in self.source.items} - {item.ordinal for item in self.marked}

    @property
    def counters(self):
        return self.parts.counters

    @property
    def answered(self):
        return [row.values["id"] for row in self.sink.rows]

    @property
    def failed(self):
        return [failure.id for failure in self.sink.failures]

    @property
    def pending(self):
        ended = {*self.answered, *self.failed}
        return [item.id for item in self.source.items if item.id not in ended]

    def check_books(self):
        """What holds at the end of every pass, however it ended."""
        for budget in self.budgets:
            assert budget.open == set()
            assert budget.n_settled_unsent == 0
            assert budget.most <= budget.limit + 1e-6
            assert budget.settled <= budget.limit + 1e-6
        assert self.counters.in_flight == self.gate.in_flight == 0
        assert self.counters.neurons == sum(budget.settled for budget in self.budgets)
        ended = [*self.answered, *self.failed]
        assert len(ended) == len(set(ended))
        assert {item.id for item in self.marked} <= set(ended)


def broken(ordinal, reason="is not JSON"):
    return BrokenRecord(ordinal=ordinal, id=f"r{ordinal}", source="s", row=ordinal, reason=reason)
