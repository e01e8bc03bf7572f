"""A job that fails as a whole is stopped before it burns the budget (P1, P4): the breaker through the command line."""

import pytest

from pipeline.outage import SUSPECT
from tests.support.cli import sentences

CONCURRENCY = 8
N = 600


def spec(world, *, batch=1, **retry):
    world.spec(
        limits={"batch_size": batch, "concurrency": CONCURRENCY},
        retry={"attempts": 1, "max_delay_seconds": 0.1, **retry},
    )


def check_stopped(world, report, *, n_done):
    """It is told as failing; whoever was asked about has a row, and all others are pending."""
    assert report["stop_reason"] == "failing"
    assert report["records"]["done"] == n_done
    assert report["records"]["pending"] == N - n_done - report["records"]["failed"]
    assert "stopped because too much failed" in report["advice"]
    assert len(world.ids("failures")) == report["records"]["failed"]


def test_the_first_fifty_are_all_refused(world):
    """No more than fifty records and what was in flight are tried."""
    world.records(sentences()[:N])
    spec(world, attempts=3)
    world.faults({"fault": "5006"})
    report = world.run(code=3)
    check_stopped(world, report, n_done=0)
    assert 50 <= report["records"]["failed"] <= 50 + 2 * CONCURRENCY
    assert report["requests"]["sent"] == world.requests == report["records"]["failed"]


@pytest.mark.parametrize(
    ("fault", "batch", "attempts"),
    [("3043", 1, 1), ("3043", 1, 6), ("3043", 100, 6), ("garbage_json", 10, 2), ("html502", 10, 2)],
)
def test_a_server_that_only_fails_is_not_paid_for_long(world, fault, batch, attempts):
    """After fifty answers and what was in flight it ends; no record is blamed that may be tried again."""
    world.records(sentences()[:N])
    spec(world, batch=batch, attempts=attempts)
    world.faults({"fault": fault})
    report = world.run(code=3)
    check_stopped(world, report, n_done=0)
    assert report["records"]["failed"] == (SUSPECT - 1 if attempts == 1 else 0)
    assert 50 <= report["requests"]["sent"] == world.requests <= 50 + CONCURRENCY


def test_too_large_a_share_fails(world):
    """After a good beginning it stops once more than `retry.abort_share` of the last 200 have failed."""
    texts = [text + (" BAD" if n >= 200 and n % 2 else "") for n, text in enumerate(sentences()[:N])]
    world.records(texts)
    spec(world, abort_share=0.25)
    world.faults({"fault": "5006", "match": " BAD"})
    report = world.run(code=3)
    assert 51 <= report["records"]["failed"] <= 51 + 2 * CONCURRENCY
    check_stopped(world, report, n_done=report["records"]["done"])
    assert 200 + 100 - 2 * CONCURRENCY <= world.requests <= 200 + 102 + 4 * CONCURRENCY


def test_a_share_below_it_goes_on(world):
    """A bad patch is not the end: the run completes with failures."""
    texts = [text + (" BAD" if n >= 200 and n % 4 == 0 else "") for n, text in enumerate(sentences()[:N])]
    world.records(texts)
    spec(world, abort_share=0.3)
    world.faults({"fault": "5006", "match": " BAD"})
    report = world.run(code=4)
    assert report["records"] == {"total": N, "done": 500, "failed": 100, "pending": 0}


def test_what_failed_is_asked_again_only_on_request(world):
    """A later run sends what is pending, and what failed with --retry-failed only."""
    world.records(sentences()[:N])
    spec(world)
    world.faults({"fault": "5006"})
    n_failed = world.run(code=3)["records"]["failed"]
    world.emulator.set_faults([])
    world.emulator.reset()
    report = world.run(code=4)
    assert report["records"] == {"total": N, "done": N - n_failed, "failed": n_failed, "pending": 0}
    assert world.requests == N - n_failed
    assert world.run(code=4)["requests"]["sent"] == 0
    report = world.run("job.yaml", "--retry-failed")
    assert report["requests"]["sent"] == n_failed
    assert report["records"]["done"] == N
    world.check_once([f"r{n:05}" for n in range(N)])


@pytest.mark.parametrize(("fault", "n_failed"), [("5006", 50), ("3043", SUSPECT - 1)])
def test_run_after_run_against_a_server_that_is_down(world, fault, n_failed):
    """Each try is bounded anew, and failures do not pile up twice."""
    world.records(sentences()[:N])
    spec(world)
    world.faults({"fault": fault})
    seen = 0
    for number in range(1, 4):
        report = world.run(code=3)
        assert world.requests - seen <= 50 + 2 * CONCURRENCY
        seen = world.requests
        assert report["records"]["failed"] == len(set(world.ids("failures")))
        assert number * n_failed <= report["records"]["failed"] <= number * (n_failed + 2 * CONCURRENCY)
