"""`when_spent: wait` goes on by itself at 00:00 UTC, for as many days as the work needs."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from pipeline import StopReason, parse_spec, read_results, run_job
from pipeline.budget import Ledger
from pipeline.cli.status import read_status
from pipeline.control import Control
from pipeline.errors import SpecError
from pipeline.settings import load_settings
from tests.support.cli import sentences
from tests.support.emulators import ForkedEmulator

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
    with ForkedEmulator("--no-rate-limit") as emulator:
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
    by_day = [days[day] for day in sorted(days)]
    assert all(spent >= 0.98 * PER_DAY for spent in by_day[:-2]), days
    assert by_day[-2] >= 0.93 * PER_DAY, (
        days
    )  # one text may be left then, and its bound more than what is left of the day
    assert sum(days.values()) >= 0.995 * metered
    waits = [event for event in events if event.kind == "waiting"]
    assert len(waits) == len(days) - 1
    assert "2026-11-23 00:00 UTC" in waits[0].message
    assert max(control.naps) <= 30  # short naps: a computer that was suspended past midnight notices soon


def job(tmp_path, texts, *, batch=10, limits=None, **budget):
    """A job of bge-large on so many texts."""
    (tmp_path / "in.txt").write_text("\n".join(texts))
    keys = ", ".join(f"{key}: {value}" for key, value in budget.items())
    limits = {"batch_size": batch, "concurrency": 4} | (limits or {})
    return parse_spec(
        f"task: embed\nmodel: '@cf/baai/bge-large-en-v1.5'\ninput: {{path: {tmp_path}/in.txt}}\n"
        f"output: {{path: {tmp_path}/out}}\nlimits: {json.dumps(limits)}\ndedupe: false\n"
        f"budget: {{{keys}}}\n"
    )


def settings_for(emulator, tmp_path):
    return load_settings(
        {
            "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
            "CLOUDFLARE_API_TOKEN": "test-token-not-real",
            "CLOUDFLARE_BASE_URL": emulator.url,
            "WAI_STATE_DIR": str(tmp_path / "state"),
        },
        tmp_path,
        need_credentials=True,
    )


def booked(tmp_path, clock):
    """Neurons by day, as the ledger has them."""
    with Ledger(tmp_path / "state" / "ledger.sqlite3", clock) as ledger:
        days = {}
        for row in ledger.report(ACCOUNT):
            days[row.day] = days.get(row.day, 0.0) + row.settled + row.assumed
        return dict(sorted(days.items()))


class FastClock(MovableClock):
    """A wall clock that makes ten seconds of each, from 23:59:50 on."""

    def __init__(self):
        self.began = datetime.now(UTC)

    def now(self):
        return datetime(2026, 11, 22, 23, 59, 50, tzinfo=UTC) + 10 * (datetime.now(UTC) - self.began)


async def test_a_run_walks_over_midnight(tmp_path):
    """From 23:59:50 to 00:00:10 with requests in flight all the time: each day's book covers each day's meter."""
    with ForkedEmulator("--no-rate-limit", "--latency-ms", "150,250") as emulator:
        clock = FastClock()
        midnight = datetime(2026, 11, 23, tzinfo=UTC)
        # the service's clock runs as it should: its midnight falls on the moment of ours
        emulator.set_clock((midnight - timedelta(seconds=1) - clock.began).total_seconds())
        spec = job(tmp_path, sentences()[:400], neurons_per_day=10_000)
        report = await run_job(spec, settings=settings_for(emulator, tmp_path), clock=clock)
        assert report.done == 400
        today = emulator.stats()["neurons"]
        emulator.set_clock((midnight - timedelta(hours=1) - datetime.now(UTC)).total_seconds())
        yesterday = emulator.stats()["neurons"]
    days = booked(tmp_path, clock)
    assert [day.isoformat() for day in days] == ["2026-11-22", "2026-11-23"]
    assert min(today, yesterday) > 0
    assert 0.995 * yesterday <= days[midnight.date() - timedelta(days=1)]
    assert 0.995 * today <= days[midnight.date()]
    # what was in flight at midnight stands on both days, and once in the job's total
    in_flight = 4 * 10 * 1.0
    assert today + yesterday - 0.1 <= report.spent <= (today + yesterday) * 1.005
    assert sum(days.values()) <= today + yesterday + in_flight


@dataclass
class Suspended(Jumping):
    """The computer sleeps for ten hours during the first nap."""

    async def sleep(self, seconds):
        if not self.naps:
            self.clock.offset += timedelta(hours=10)
        return await super().sleep(seconds)


@dataclass
class SetBack(Jumping):
    """Somebody sets the clock back by two hours during the first nap, and during the third."""

    async def sleep(self, seconds):
        if len(self.naps) in {0, 2}:
            self.clock.offset -= timedelta(hours=2)
        return await super().sleep(seconds)


@pytest.mark.parametrize("kind", [Suspended, SetBack])
async def test_a_clock_that_jumps_while_it_waits(tmp_path, kind):
    """Suspended past midnight it goes on at the next nap; set back it waits on, and no spent day is opened again."""
    clock = MovableClock()
    control = kind(clock=clock)
    events = []
    with ForkedEmulator("--no-rate-limit") as emulator:
        spec = job(tmp_path, sentences()[:140], batch=5, neurons_per_day=PER_DAY, when_spent="wait")
        report = await run_job(
            spec, settings=settings_for(emulator, tmp_path), clock=clock, control=control, observer=events.append
        )
    assert report.stop_reason is StopReason.COMPLETED
    assert [event.kind for event in events].count("waiting") == 1
    days = booked(tmp_path, clock)
    assert len(days) == 2
    assert all(spent <= PER_DAY for spent in days.values())
    waited = sum(control.naps)
    assert waited <= 30 if kind is Suspended else waited >= 4 * 3600


async def test_the_services_midnight_may_be_later_than_ours(tmp_path):
    """Refused within minutes of our midnight, it tries again a minute later and does not lose the day."""
    clock = MovableClock()
    clock.offset += timedelta(minutes=2)
    control = Jumping(clock=clock)
    events = []
    with ForkedEmulator("--no-rate-limit") as emulator:
        emulator.set_faults([{"fault": "4006", "times": 1}])
        spec = job(tmp_path, sentences()[:40], neurons_per_day=1_000, when_spent="wait")
        report = await run_job(
            spec, settings=settings_for(emulator, tmp_path), clock=clock, control=control, observer=events.append
        )
    assert report.stop_reason is StopReason.COMPLETED
    assert 50 <= sum(control.naps) <= 70
    assert "00:01 UTC" in next(event.message for event in events if event.kind == "waiting")


@dataclass
class Refused(Jumping):
    """At the first nap it is noted what the service has seen; at midnight the service has neurons again."""

    emulator: ForkedEmulator | None = None
    seen: list = field(default_factory=list)

    async def sleep(self, seconds):
        self.seen.append(self.emulator.stats()["requests"]["total"])
        ended = await super().sleep(seconds)
        if self.clock.now() > datetime(2026, 11, 23, tzinfo=UTC):
            self.emulator.set_faults([])
        return ended


@pytest.mark.parametrize("code", ["4006", "3036"])
async def test_a_daily_refusal_is_waited_out_in_silence(tmp_path, code):
    """Refused for the day with room in the own book: what was in flight ends, nothing is asked until midnight."""
    clock, after, concurrency = MovableClock(), 10, 4
    clock.offset -= timedelta(hours=13, minutes=58)  # 10:00
    with ForkedEmulator("--no-rate-limit") as emulator:
        control = Refused(clock=clock, emulator=emulator)
        emulator.set_faults([{"fault": code, "after": after + 1}])
        spec = job(tmp_path, sentences()[:140], batch=5, neurons_per_day=10_000, when_spent="wait")
        report = await run_job(spec, settings=settings_for(emulator, tmp_path), clock=clock, control=control)
        n_requests = emulator.stats()["requests"]["total"]
    assert report.stop_reason is StopReason.COMPLETED
    assert report.done == 140
    assert sum(control.naps) >= 13 * 3_600
    assert after < control.seen[0] <= after + concurrency
    assert set(control.seen) == {control.seen[0]}
    assert n_requests == control.seen[0] + 140 // 5 - after


async def test_a_clock_set_back_while_it_sends(tmp_path):
    """Back over midnight in mid-run: the day that was begun goes on, and the one before is not opened again."""
    clock = MovableClock()
    clock.offset += timedelta(minutes=2)  # 00:00
    texts, spent_before = sentences()[:240], []

    def progress(shown):
        if shown.counters.done and not spent_before:
            spent_before.append(shown.counters.neurons)
            clock.offset -= timedelta(hours=2)

    with ForkedEmulator("--no-rate-limit", "--latency-ms", "400,600") as emulator:
        spec = job(tmp_path, texts, batch=5, neurons_per_day=40)
        settings = settings_for(emulator, tmp_path)
        report = await run_job(spec, settings=settings, clock=clock, progress=progress)
        again = await run_job(spec, settings=settings, clock=clock)
        metered = emulator.stats()["neurons"]
    assert clock.now().day == 22
    assert report.stop_reason is again.stop_reason is StopReason.BUDGET_SPENT
    assert 0 < spent_before[0] < 0.9 * 40
    assert metered <= 40
    assert booked(tmp_path, clock).keys() == {datetime(2026, 11, 23, tzinfo=UTC).date()}


@dataclass
class Patient(Jumping):
    """Waits for three days, and no longer."""

    async def sleep(self, seconds):
        await super().sleep(seconds)
        return sum(self.naps) > 3 * 86_400


async def test_what_the_job_may_spend_in_all_is_not_waited_for(tmp_path):
    """Midnight brings a new allowance to the account, none to a job whose own is too small for another picture."""
    clock, events = MovableClock(), []
    control = Patient(clock=clock)
    spec = parse_spec(
        "task: image\nmodel: '@cf/black-forest-labs/flux-1-schnell'\ninput: {items: [a cat, a dog, a cow]}\n"
        f"output: {{path: {tmp_path}/out}}\nparams: {{steps: 4}}\n"
        "budget: {neurons_total: 250, when_spent: wait}\n"
    )
    with ForkedEmulator("--no-rate-limit") as emulator:
        settings = settings_for(emulator, tmp_path)
        report = await run_job(spec, settings=settings, clock=clock, control=control, observer=events.append)
    assert 0 < report.done < 3
    assert report.stop_reason is StopReason.BUDGET_SPENT
    assert [event for event in events if event.kind == "waiting"] == []


async def test_a_signal_ends_the_waiting(tmp_path, monkeypatch):
    """Ctrl-C while it waits for midnight ends the run at once; what is done can be read while it waits."""
    (tmp_path / "in.txt").write_text("\n".join(sentences()[:60]))
    spec = parse_spec(
        f"task: embed\nmodel: '@cf/baai/bge-large-en-v1.5'\ninput: {{path: {tmp_path}/in.txt}}\n"
        f"output: {{path: {tmp_path}/out}}\nendpoint: {{kind: emulator}}\n"
        f"budget: {{neurons_per_day: 5, when_spent: wait}}\n"
    )
    control, seen = Control(), []

    def observer(event):
        if event.kind == "waiting":
            status = read_status(tmp_path / "out", rehearse=False, verify=False)
            seen.append((len(read_results(tmp_path / "out")), status.done, status.lines()[0]))
            control.stop(StopReason.TERMINATED)

    settings = load_settings({"WAI_STATE_DIR": str(tmp_path / "state")}, tmp_path, need_credentials=False)
    monkeypatch.setenv("WAI_STATE_DIR", str(tmp_path / "state"))
    report = await run_job(spec, settings=settings, control=control, observer=observer)
    assert report.stop_reason is StopReason.TERMINATED
    ((n_rows, n_done, first),) = seen
    assert n_rows == n_done > 0
    assert first.startswith("job: waiting, goes on by itself at ")
    assert " 00:00:05 UTC (pid " in first
    assert "waiting" not in read_status(tmp_path / "out", rehearse=False, verify=False).lines()[0]
    assert report.pending == report.total - report.done > 0
    assert len(read_results(tmp_path / "out")) == report.done > 0


async def test_the_deadline_ends_a_run_as_a_signal_does(tmp_path):
    """What is in flight when the time comes is finished and kept, nothing leaves after it; a later run completes."""
    clock, texts = MovableClock(), sentences()[:200]
    with ForkedEmulator("--no-rate-limit", "--latency-ms", "300,300") as emulator:
        settings = settings_for(emulator, tmp_path)

        def progress(shown):
            if shown.counters.done >= 20:
                clock.offset += timedelta(hours=8)

        spec = job(tmp_path, texts, batch=5, limits={"deadline": "8h"}, neurons_per_day=10_000)
        report = await run_job(spec, settings=settings, clock=clock, progress=progress)
        asked = emulator.stats()["texts"]
        assert report.stop_reason is StopReason.DEADLINE
        assert "resume with: wai run" in report.advice
        assert 20 <= report.done == asked < len(texts)
        again = await run_job(spec, settings=settings, clock=clock)
        assert (again.stop_reason, again.done) == (StopReason.COMPLETED, len(texts))
        assert emulator.stats()["texts"] == len(texts)


@pytest.mark.parametrize(("deadline", "waits", "reason"), [("1m", 0, "budget_spent"), ("3h", 1, "completed")])
async def test_midnight_is_waited_for_only_if_it_comes_before_the_deadline(tmp_path, deadline, waits, reason):
    """A run does not lie idle until a deadline that comes before there is anything to spend."""
    clock, events = MovableClock(), []
    control = Jumping(clock=clock)
    with ForkedEmulator("--no-rate-limit") as emulator:
        spec = job(
            tmp_path,
            sentences()[:140],
            batch=5,
            limits={"deadline": deadline},
            neurons_per_day=PER_DAY,
            when_spent="wait",
        )
        report = await run_job(
            spec, settings=settings_for(emulator, tmp_path), clock=clock, control=control, observer=events.append
        )
    assert report.stop_reason == reason
    assert [event.kind for event in events].count("waiting") == waits
    assert bool(control.naps) == bool(waits)


async def test_a_deadline_that_has_passed_is_a_mistake_of_the_spec(tmp_path):
    spec = job(tmp_path, ["a"], limits={"deadline": "2026-11-01T07:00Z"}, neurons_per_day=10)
    settings = load_settings({"WAI_STATE_DIR": str(tmp_path)}, tmp_path, need_credentials=False)
    with pytest.raises(SpecError, match=r"limits.deadline: 2026-11-01 07:00 UTC has passed"):
        await run_job(spec, settings=settings, clock=MovableClock())
