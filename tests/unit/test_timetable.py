"""When a run ends and sleeps by the clock."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import parse_spec
from pipeline.control import Control
from pipeline.errors import SpecErrors
from pipeline.events import StopReason
from pipeline.spec import deadline_after
from pipeline.timetable import Timetable
from tests.support.clocks import FakeClock

STARTED = datetime(2026, 11, 23, 6, 50, tzinfo=UTC)


@pytest.fixture
def in_berlin(monkeypatch):
    """Local time is Berlin's: UTC+1 in winter, +2 in summer."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("8h", "2026-11-23 14:50"),
        ("90m", "2026-11-23 08:20"),
        ("1h 30min", "2026-11-23 08:20"),
        ("08:00", "2026-11-23 07:00"),
        ("7:50", "2026-11-24 06:50"),  # it is 7:50 now: the next one
        ("00:30", "2026-11-23 23:30"),
        ("2026-11-24T07:00Z", "2026-11-24 07:00"),
        ("2026-11-24 07:00+01:00", "2026-11-24 06:00"),
        ("2026-11-01T07:00Z", "2026-11-01 07:00"),
    ],
)
def test_a_deadline_is_a_moment(in_berlin, text, moment):
    assert deadline_after(text, STARTED) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


def test_a_time_of_day_is_the_local_clocks_when_that_jumps(in_berlin):
    """In the night to 25 October 2026 the clocks of Berlin are set back, from 3:00 to 2:00."""
    evening = datetime(2026, 10, 24, 20, tzinfo=UTC)
    assert deadline_after("07:00", evening) == datetime(2026, 10, 25, 6, tzinfo=UTC)
    assert deadline_after("07:00", evening - timedelta(days=1)) == datetime(2026, 10, 24, 5, tzinfo=UTC)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)), st.times())
def test_a_time_of_day_comes_within_about_a_day(started, of_day):
    moment = deadline_after(f"{of_day:%H:%M}", started)
    assert timedelta() < moment - started <= timedelta(hours=25)


@pytest.mark.parametrize(
    "text",
    ["", "h", "0h", "8", "-1h", "soon", "25:00", "07:60", "2026-11-24", "2026-11-24T07:00", "9999-12-31T23:59-14:00"],
)
def test_what_is_no_deadline(text):
    with pytest.raises(SpecErrors, match=r"job.yaml:3: limits.deadline: is no deadline; give how long"):
        parse_spec(f"task: embed\ninput: {{path: a}}\nlimits: {{deadline: '{text}'}}\n", "job.yaml")


@pytest.mark.parametrize(("after", "reason"), [(-1, None), (0, StopReason.DEADLINE), (3600, StopReason.DEADLINE)])
async def test_the_run_is_stopped_once_it_is_time(after, reason):
    clock, control, told = FakeClock(), Control(), []
    table = Timetable(
        stops_at=STARTED + timedelta(hours=1), clock=clock, control=control, tell=lambda *it: told.append(it)
    )
    clock.at = table.stops_at + timedelta(seconds=after)
    table.keep_deadline()
    table.keep_deadline()
    assert control.reason is reason
    assert not control.is_killed  # a second look is no second signal
    assert len(told) == (reason is not None)


async def test_a_signal_before_the_deadline_keeps_its_reason_and_its_grace():
    clock, control = FakeClock(), Control()
    control.stop(StopReason.INTERRUPTED)
    Timetable(stops_at=STARTED, clock=clock, control=control, tell=lambda *_: None).keep_deadline()
    assert control.reason is StopReason.INTERRUPTED
    assert not control.is_killed
