"""The sums at the end of a run: what is on disk counts, and what does not agree with it is not reported."""

from types import SimpleNamespace

import pytest

from pipeline.accounting import Before, Ending, Settled, account
from pipeline.errors import PipelineError
from pipeline.events import Counters, StopReason

JOB = SimpleNamespace(
    spec=SimpleNamespace(name="job", budget=SimpleNamespace(day=100.0, neurons_total=None)),
    output="out",
    lanes=[None],
    is_simulated=True,
)
BEFORE = Before(settled=Settled(20, 5, 20), total=100, done=10, failed=5, pending=85)


def reported(results, failures, *, done=None, shared=0, failed=None, reason=StopReason.INTERRUPTED, was_killed=False):
    """The report of a run that found so much on disk, and believes to have done so much (by default what is there)."""
    counters = Counters()
    counters.done = results - 20 - shared if done is None else done
    counters.shared = shared
    counters.failed = failures - 5 if failed is None else failed
    end = Ending(reason=reason, cause=None, was_killed=was_killed, seconds=1.0, command="wai run job.yaml")
    return account(JOB, BEFORE, Settled(results, failures, results), counters, None, end)


def test_every_record_is_counted_once():
    """Done, failed and pending are the whole input; rows of records that left it stand beside."""
    report = reported(60, 8, shared=7)
    assert (report.total, report.done, report.failed, report.pending) == (100, 50, 8, 42)
    assert report.not_in_input == 10
    assert report.done_this_run == 40


@pytest.mark.parametrize(
    "facts",
    [
        {"results": 60, "failures": 5, "done": 41},
        {"results": 60, "failures": 5, "done": 39},
        {"results": 60, "failures": 5, "failed": 1},
        {"results": 60, "failures": 5, "shared": 2, "done": 40},
        {"results": 115, "failures": 6},
        {"results": 60, "failures": 5, "reason": StopReason.COMPLETED},
        {"results": 115, "failures": 6, "was_killed": True},
    ],
)
def test_sums_that_do_not_agree_are_refused(facts):
    """One more or less than was counted, more than there are, or completed with some pending: said, not reported."""
    with pytest.raises(PipelineError, match="accounting error: 100 records, of which"):
        reported(**facts)


def test_a_run_that_was_cut_off_may_have_counted_less():
    """What is on disk counts."""
    assert reported(60, 5, done=38, was_killed=True).done == 50


def test_completed_is_said_of_all_or_of_all_but_failures():
    """The reason is what the sums say."""
    report = reported(105, 5, reason=StopReason.COMPLETED)
    assert (report.pending, report.stop_reason) == (0, StopReason.COMPLETED_WITH_FAILURES)
