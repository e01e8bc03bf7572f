"""b4, b5, b11: what grows with the number of records, and what must not."""

from __future__ import annotations

import functools
import time

from benchmarks import jobs
from benchmarks.client import take_turn
from benchmarks.server import Server
from benchmarks.table import Figure
from pipeline.keptscan import SETTLED_S


@functools.cache  # b4 and b11 ask for the same run
def tiny(rows):
    """A run over tiny records, a hundred a request."""
    with jobs.work_folder() as folder, Server(dims=8) as server:
        jobs.write_tiny(folder, rows)
        spec = jobs.write_spec(folder, task="embed", model=jobs.TINY)
        return take_turn("street", server, folder, rows=rows, spec=str(spec))


def chats(rows):
    with jobs.work_folder() as folder, Server() as server:
        jobs.write_texts(folder, rows)
        spec = jobs.write_spec(folder, task="generate", model=jobs.CHAT)
        return take_turn("street", server, folder, rows=rows, spec=str(spec))


def b4(_):
    """Memory of a hundred times the records."""
    few, many = tiny(10_000), tiny(1_000_000)
    more = many.peak_mb - few.peak_mb
    measured = (
        f"{many.peak_mb:.0f} MB, {more:+.0f} to the run of 10,000 ({more * 1e6 / 990_000:.0f} bytes/record); "
        f"{many.rate:,.0f} rows/s, {many.cpu_ms:.3f} ms CPU/row"
    )
    work = "1,000,000 tiny records, dedupe on"
    yield Figure("b4", work, "peak memory within 50 MB of 10,000 records", measured, more <= 50)


def resumed(rows, done):
    """Resume a job that has `done` of its `rows`; ended as soon as it sends."""
    with jobs.work_folder() as folder, Server(dims=8) as server:
        jobs.write_tiny(folder, rows)
        spec = str(jobs.write_spec(folder, task="embed", model=jobs.TINY))
        time.sleep(SETTLED_S)  # an input that has just been written is read again by the next run
        take_turn("finished", server, folder, rows=done, spec=spec)
        return take_turn("street", server, folder, rows=rows, spec=spec, stop_when_sending=done < rows)


def b5(long):
    """How long a resume takes until it is done, or sends."""
    turn = resumed(1_000_000, 1_000_000)
    assert turn.told["sent"] == 0
    measured = f"{turn.process_s:.1f} s ({turn.cpu_s:.1f} CPU), {turn.peak_mb:.0f} MB"
    met = turn.process_s < 3 and turn.peak_mb < 300
    yield Figure("b5 done", "resume of a finished job of 1,000,000 rows", "< 3 s, < 300 MB", measured, met)
    if long:
        turn = resumed(10_000_000, 5_000_000)
        measured = f"{turn.to_first_s:.1f} s to the first request, {turn.peak_mb:.0f} MB"
        met = turn.to_first_s < 20 and turn.peak_mb < 600
        yield Figure("b5 half", "resume of half of 10,000,000 rows", "< 20 s, < 600 MB", measured, met)


def b11(_):
    """The cost of a row when there are ten times as many."""
    for name, run, rows in (("chats", chats, 3_000), ("embeddings", tiny, 100_000)):
        few, many = run(rows), run(10 * rows)
        ratio = many.cpu_ms / few.cpu_ms
        measured = (
            f"{ratio:.2f} in CPU time ({few.cpu_ms:.3f}, {many.cpu_ms:.3f} ms/row), {many.rate / few.rate:.2f} in rate"
        )
        work = f"{10 * rows:,} {name} after {rows:,}"
        yield Figure(f"b11 {name}", work, "cost per row within 1.1 times", measured, ratio <= 1.1)
