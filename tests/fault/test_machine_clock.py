"""The machine's own clock passes midnight in mid-run (promise P3): each day pays for what it was charged for."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from tests.support.cli import sentences
from tests.support.figures import figure

PER_DAY = 100.0
N = 300
# libfaketime would move the clock below Python, but it holds asyncio up for seconds at a time.
MOVES_THE_CLOCK = """
import os
from datetime import UTC, datetime, timedelta
from pipeline.clock import SystemClock
offset = timedelta(seconds=float(os.environ["CLOCK_OFFSET"]))
SystemClock.now = lambda self: datetime.now(UTC) + offset
"""


@pytest.mark.slow
def test_a_whole_process_walks_over_midnight(world_with, tmp_path):
    """Spent on day one, it waits, goes on by itself after 00:00 UTC and ends; book and meter agree on both days."""
    log = tmp_path / "requests.log"
    world = world_with("--no-rate-limit", "--daily-neurons", str(PER_DAY), "--request-log", str(log))
    world.records(sentences()[:N])
    world.spec(
        model="@cf/baai/bge-large-en-v1.5",
        limits={"batch_size": 20},
        budget={"neurons_per_day": PER_DAY, "when_spent": "wait"},
        dedupe=False,
    )
    start = datetime(2031, 3, 9, 23, 59, 52, tzinfo=UTC)
    offset = (start - datetime.now(UTC)).total_seconds()
    world.emulator.set_clock(offset)
    helper = tmp_path / "helper"
    helper.mkdir()
    (helper / "sitecustomize.py").write_text(MOVES_THE_CLOCK)
    env = {"PYTHONPATH": f"{helper}:{world.env.get('PYTHONPATH', '')}", "CLOCK_OFFSET": str(offset)}
    with world.start("run", "job.yaml", "--json", env=env) as running:
        ran = running.ended(timeout=60)
    assert ran.code == 0, ran.said
    assert ran.json["records"]["done"] == N
    assert "goes on by itself at 2031-03-10 00:00 UTC" in ran.err
    world.check_once([f"r{n:05}" for n in range(N)])

    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert {entry["status"] for entry in entries} == {200}
    metered = Counter()
    for entry in entries:
        metered[entry["at"][:10]] += entry["neurons"]
    rows = world.wai("budget", "--all", "--json").json["rows"]
    booked = {row["day"]: row["neurons"] for row in rows}
    assert booked.keys() == metered.keys() == {"2031-03-09", "2031-03-10"}
    for day, neurons in metered.items():
        assert neurons <= PER_DAY
        assert 0.995 * neurons <= booked[day] <= 1.005 * neurons + 0.01
    assert metered["2031-03-09"] >= 0.98 * PER_DAY
    assert sum(entry["texts"] for entry in entries) == N
    # It waited for the clock of the wall: nothing left between the end of the first day's budget and 00:00:05.
    second = min(entry["at"] for entry in entries if entry["at"].startswith("2031-03-10"))
    assert second >= "2031-03-10T00:00:04.9"
    figure("midnight", booked=booked, metered=dict(metered))
