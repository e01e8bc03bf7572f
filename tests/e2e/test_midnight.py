"""`when_spent: wait` goes on by itself at 00:00 UTC, for as many days as the work needs."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from pipeline import StopReason, parse_spec, read_results, run_job
from pipeline.budget import Ledger
from pipeline.control import Control
from pipeline.emulator import EmulatorProcess
from pipeline.settings import load_settings
from tests.support.cli import sentences

ACCOUNT = "0123456789abcdef0123456789abcdef"
PER_DAY = 60


class MovableClock:
    """Real monotonic time, and a wall clock that can be put forward."""

    def __init__(self):
        self.offset = datetime(2026, 11, 22, 23, 58, tzinfo=UTC) - datetime.now(UTC)

    def now(self):
        return datetime.now(UTC) + self.offset

    def monotonic(self):
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)


@dataclass
class Jumping(Control):
    """Waiting for midnight puts the clock forward instead."""

    clock: MovableClock = field(default_factory=MovableClock)
    naps: list = field(default_factory=list)

    async def sleep(self, seconds):
        self.naps.append(seconds)
        self.clock.offset += timedelta(seconds=seconds)
        return False


@pytest.mark.slow
async def test_a_job_goes_on_each_midnight_until_it_is_done(tmp_path):
    """Each day spends its own allowance and no more, every record is answered once, charges lie on their days."""
    texts = sentences()[:300]
    (tmp_path / "in.txt").write_text("\n".join(texts))
    spec = parse_spec(
        f"task: embed\nmodel: '@cf/baai/bge-large-en-v1.5'\ninput: {{path: {tmp_path}/in.txt}}\n"
        f"output: {{path: {tmp_path}/out}}\nlimits: {{batch_size: 20}}\ndedupe: false\n"
        f"budget: {{neurons_per_day: {PER_DAY}, when_spent: wait}}\n"
    )
    clock = MovableClock()
    control = Jumping(clock=clock)
    events = []
    with EmulatorProcess("--no-rate-limit") as emulator:
        settings = load_settings(
            {
                "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
                "CLOUDFLARE_API_TOKEN": "test-token-not-real",
                "CLOUDFLARE_BASE_URL": emulator.url,
                "WAI_STATE_DIR": str(tmp_path / "state"),
            },
            tmp_path,
            need_credentials=True,
        )
        report = await run_job(spec, settings=settings, clock=clock, control=control, observer=events.append)
        metered = emulator.stats()["neurons"]
    assert report.stop_reason is StopReason.COMPLETED
    assert report.done == len(texts)
    assert read_results(tmp_path / "out")["id"].is_unique
    with Ledger(tmp_path / "state" / "ledger.sqlite3", clock) as ledger:
        days = {row.day: row.settled for row in ledger.report(ACCOUNT)}
    assert len(days) >= 3
    assert all(spent <= PER_DAY for spent in days.values())
    assert all(spent >= 0.98 * PER_DAY for spent in sorted(days.values())[1:])
    assert sum(days.values()) >= 0.995 * metered
    waits = [event for event in events if event.kind == "waiting"]
    assert len(waits) == len(days) - 1
    assert "2026-11-23 00:00 UTC" in waits[0].message
    assert max(control.naps) <= 30  # short naps: a computer that was suspended past midnight notices soon


async def test_a_signal_ends_the_waiting(tmp_path):
    """Ctrl-C while it waits for midnight ends the run at once, with everything kept."""
    (tmp_path / "in.txt").write_text("\n".join(sentences()[:60]))
    spec = parse_spec(
        f"task: embed\nmodel: '@cf/baai/bge-large-en-v1.5'\ninput: {{path: {tmp_path}/in.txt}}\n"
        f"output: {{path: {tmp_path}/out}}\nendpoint: {{kind: emulator}}\n"
        f"budget: {{neurons_per_day: 5, when_spent: wait}}\n"
    )
    control = Control()

    def observer(event):
        if event.kind == "waiting":
            control.stop(StopReason.TERMINATED)

    settings = load_settings({"WAI_STATE_DIR": str(tmp_path / "state")}, tmp_path, need_credentials=False)
    report = await run_job(spec, settings=settings, control=control, observer=observer)
    assert report.stop_reason is StopReason.TERMINATED
    assert report.pending == report.total - report.done > 0
    assert len(read_results(tmp_path / "out")) == report.done > 0
