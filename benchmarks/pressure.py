"""b6, b7, b8, b9: how much of what a service gives is used, when it gives little, changes, or fails."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import deque

from benchmarks import jobs
from benchmarks.client import take_turn
from benchmarks.server import Server
from benchmarks.table import Figure
from pipeline.engine import Engine
from pipeline.errors import RateLimited
from pipeline.events import StopReason
from tests.support.fakes import InlineLoop, Street, answer, record

HIDDEN = 32
CEILING = 256
LATENCY_S = 0.1
LATEST_S = 0.003


def chats(rows, *, concurrency=64, pace=jobs.LIFTED, **behaviour):
    with jobs.work_folder() as folder, Server(**behaviour) as server:
        jobs.write_texts(folder, rows)
        spec = jobs.write_spec(folder, task="generate", model=jobs.CHAT, concurrency=concurrency, per_minute=pace)
        return take_turn("street", server, folder, rows=rows, spec=str(spec))


def refused(turn):
    """Share of the requests that were refused."""
    n = sum(turn.server["refused"].values())
    return n / (n + turn.server["answered"])


def at_once(turn):
    """Requests that were being served, on average."""
    return (turn.server["answered"] + turn.server["refused"].get("500", 0)) * LATENCY_S / turn.wall_s


def b6(_):
    """A hidden capacity, and a ceiling far above it."""
    always = [(3600.0, HIDDEN)]
    oracle = chats(6_400, concurrency=HIDDEN, latency_s=LATENCY_S, capacity=always)
    ours = chats(6_400, concurrency=CEILING, latency_s=LATENCY_S, capacity=always)
    share, of_all = ours.rate / oracle.rate, ours.server["answered"] / ours.server["offered"]
    measured = (
        f"{share:.1%} ({ours.rate:.0f} of {oracle.rate:.0f} rows/s), {of_all:.1%} of the capacity, "
        f"{refused(ours):.1%} refused, last 1 % took {ours.server['tail_s']} s"
    )
    work = f"capacity {HIDDEN}, ceiling {CEILING}, 6,400 chats of 100 ms"
    target = "≥ 95 % of an oracle's throughput, < 3 % refused"
    yield Figure("b6", work, target, measured, share >= 0.95 and refused(ours) < 0.03)


def b7(_):
    """A capacity that halves and doubles; beyond it requests are refused, or take three times as long."""
    changing = [(20.0, 64), (20.0, 32)]
    for name, how, behaviour in (
        ("b7 refused", "more is refused", {}),
        ("b7 slowed", "more takes 3 times as long, twice as much is refused", {"slowdown": 3.0, "room": 2.0}),
    ):
        turn = chats(32_000, concurrency=CEILING, latency_s=LATENCY_S, capacity=changing, **behaviour)
        share = turn.server["answered"] / turn.server["offered"]
        measured = (
            f"{share:.1%} of the limit in {turn.wall_s:.0f} s, {refused(turn):.1%} refused, "
            f"last 1 % took {turn.server['tail_s']} s"
        )
        work = f"capacity 64, 32, 64 … every 20 s; {how}; 32,000 chats of 100 ms"
        yield Figure(name, work, "goodput ≥ 90 % of the limit", measured, share >= 0.9)


class LateLoop(InlineLoop):
    """Time that jumps to the next timer, and up to 3 ms beyond it, as a loop with work to do comes late."""

    def __init__(self):
        super().__init__()
        rng, in_time = random.Random(9), self._jumping.select

        def late(timeout=None):
            ready = in_time(timeout)
            self._jumping.offset += rng.uniform(0.0, LATEST_S) if timeout else 0.0
            return ready

        self._jumping.select = late


class Window:
    """An endpoint that refuses what is more than `per_minute` in any 60 s, by the time of arrival."""

    def __init__(self, per_minute, latency_s):
        self.per_minute, self.latency_s = per_minute, latency_s
        self.rng = random.Random(8)
        self.admitted = deque()
        self.n_admitted = self.n_refused = 0

    async def call(self, payload, request):  # noqa: ARG002 - the form of an endpoint
        await asyncio.sleep(self.rng.uniform(0.02, 0.3))  # on the way
        now = asyncio.get_running_loop().time()
        while self.admitted and self.admitted[0] <= now - 60.0:
            self.admitted.popleft()
        if len(self.admitted) >= self.per_minute:
            self.n_refused += 1
            raise RateLimited(429, 3021, "rate limiting: inference request per min rate reached")
        self.admitted.append(now)
        self.n_admitted += 1
        await asyncio.sleep(self.latency_s)
        return answer(payload)


async def three_minutes(per_minute, latency_s):
    window = Window(per_minute, latency_s)
    street = Street([record(n) for n in range(4 * per_minute)], per_minute=per_minute, concurrency=64)
    lanes = [dataclasses.replace(lane, endpoint=window) for lane in street.parts.lanes]
    engine = Engine(dataclasses.replace(street.parts, lanes=lanes))
    asyncio.get_running_loop().call_later(180.0, engine.stop, StopReason.INTERRUPTED)
    await engine.run(street.source.read())
    return window


def b8(long):
    """A sliding window per minute: three simulated minutes, with --long as many real ones."""
    target = "≥ 98 % of the limit used, none refused"
    for per_minute, latency_s in ((300, 1.0), (3_000, 0.2)):
        with asyncio.Runner(loop_factory=LateLoop) as runner:
            window = runner.run(three_minutes(per_minute, latency_s))
        share = window.n_admitted / (3 * per_minute)
        work = f"{per_minute:,} a minute, 3 simulated minutes"
        measured = f"{share:.1%}, {window.n_refused} refused"
        yield Figure(f"b8 {per_minute}", work, target, measured, share >= 0.98 and not window.n_refused)
        if long:
            turn = chats(3 * per_minute, pace=per_minute, per_minute=per_minute, latency_s=latency_s)
            arrived_s = turn.server["last_at"] - turn.server["first_at"] - latency_s
            share = (3 * per_minute - 1) * 60.0 / per_minute / arrived_s
            n_refused = sum(turn.server["refused"].values())
            work = f"{per_minute:,} a minute, {3 * per_minute:,} chats in real time"
            measured = f"{share:.1%}, {n_refused} refused"
            yield Figure(f"b8 {per_minute} real", work, target, measured, share >= 0.98 and not n_refused)


def b9(_):
    """Faults that pass when tried again."""
    clean = chats(10_000, latency_s=LATENCY_S)
    faulty = chats(10_000, latency_s=LATENCY_S, share_3040=0.05, share_500=0.02)
    ratio = faulty.wall_s / clean.wall_s
    measured = (
        f"{ratio:.2f} times ({faulty.wall_s:.1f} s, {clean.wall_s:.1f} s without; "
        f"{at_once(faulty):.0f} and {at_once(clean):.0f} served at once), "
        f"{refused(faulty):.1%} refused, last 1 % took {faulty.server['tail_s']} s"
    )
    work = "5 % 3040 and 2 % 500 among 10,000 chats of 100 ms, 64 in flight"
    yield Figure("b9", work, "≤ 1.15 times the wall time without", measured, ratio <= 1.15)
