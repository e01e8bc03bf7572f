"""b1, b2, b3, b10: rate, CPU and start-up, beside the bare loop."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from benchmarks import jobs
from benchmarks.client import environment, take_turn
from benchmarks.server import Server
from benchmarks.table import Figure

TURNS = 3


class Pair:
    """Turns of both sides, and what is said of them."""

    def __init__(self, bare, street):
        self.bare, self.street = bare, street

    @staticmethod
    def middle(turns, name):
        return statistics.median(getattr(turn, name) for turn in turns)

    @property
    def rate(self):
        return self.middle(self.street, "rate")

    @property
    def ratio(self):
        return self.rate / self.middle(self.bare, "rate")

    @property
    def cpu_ms(self):
        return self.middle(self.street, "cpu_ms")

    @property
    def cpu_ratio(self):
        return self.middle(self.bare, "cpu_ms") / self.cpu_ms

    @property
    def peak_mb(self):
        return max(turn.peak_mb for turn in self.street)

    def words(self):
        busy = max(turn.server_cpu_s / turn.wall_s for turn in (*self.bare, *self.street))
        return (
            f"{self.rate:,.0f} rows/s ({self.ratio:.2f} of {self.middle(self.bare, 'rate'):,.0f}), "
            f"{self.cpu_ms:.3f} ms CPU/row (bare {self.middle(self.bare, 'cpu_ms'):.3f}, "
            f"{self.cpu_ratio:.2f} in CPU time), {self.peak_mb:.0f} MB "
            f"(bare {max(turn.peak_mb for turn in self.bare):.0f}), server {busy:.0%} busy"
        )


def pair(rows, *, task, model, batch, turns=TURNS, **behaviour):
    """Both sides in turn; the first turn of each warms up disk and page cache and does not count."""
    bare, street = [], []
    with jobs.work_folder() as folder:
        source, spec = jobs.write_texts(folder, rows), jobs.write_spec(folder, task=task, model=model)
        given = {"rows": rows, "task": task, "model": model, "batch": batch, "input": str(source), "spec": str(spec)}
        for _ in range(1 + turns):
            for side, taken in (("bare", bare), ("street", street)):
                with Server(**behaviour) as server:
                    taken.append(take_turn(side, server, folder, **given))
                jobs.forget_run(folder)
    return Pair(bare[1:], street[1:])


def b1(_):
    """5,000 chats of 20 ms."""
    found = pair(5_000, task="generate", model=jobs.CHAT, batch=1, latency_s=0.02)
    met = found.ratio >= 0.9 and found.cpu_ms <= 0.35 and found.peak_mb <= 120
    target = "≥ 0.9 of the bare rate, ≤ 0.35 ms CPU/row, ≤ 120 MB"
    yield Figure("b1", "5,000 chats, 64 in flight, 20 ms", target, found.words(), met)


def b2(_):
    """20,000 chats as fast as it goes."""
    found = pair(20_000, task="generate", model=jobs.CHAT, batch=1)
    target = "≥ 5,000 rows/s on one core, ≥ 0.5 of bare"
    yield Figure("b2", "20,000 chats, 0 ms", target, found.words(), found.rate >= 5_000 and found.ratio >= 0.5)


def b3(_):
    """50,000 embeddings, a hundred a request."""
    for model, dims in ((jobs.BASE, 768), (jobs.LARGE, 1024)):
        found = pair(50_000, task="embed", model=model, batch=100, dims=dims, turns=2)
        work = f"50,000 embeddings of {dims:,}, 100 a request"
        yield Figure(f"b3 {dims}", work, "≥ 1.3 of bare", found.words(), found.ratio >= 1.3)


def b10(_):
    """From the start of the process to its end."""
    walls, cpus = zip(*(timed(["--help"], environment()) for _ in range(7)), strict=True)
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    yield Figure("b10 help", "`wai --help`", "< 150 ms", f"{wall * 1e3:.0f} ms ({cpu * 1e3:.0f} CPU)", wall < 0.15)
    walls, cpus = [], []
    with jobs.work_folder() as folder, Server() as server:
        jobs.write_texts(folder, 1)
        spec = jobs.write_spec(folder, task="generate", model=jobs.CHAT)
        for _ in range(5):
            wall, cpu = timed(["run", str(spec), "--json", "-q"], environment(server, folder / "state"))
            walls.append(wall)
            cpus.append(cpu)
            jobs.forget_run(folder)
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    yield Figure("b10 job", "a job of one row", "< 1 s beyond the call", f"{wall:.2f} s ({cpu:.2f} CPU)", wall < 1.0)


def timed(arguments, env):
    """Wall and CPU seconds of a command, start of the interpreter included."""
    started = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "pipeline", *arguments], env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, arguments
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime
