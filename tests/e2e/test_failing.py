"""A job that fails as a whole is stopped before it burns the budget (P1, P4): the breaker through the command line."""

import pytest

from tests.support.cli import sentences

CONCURRENCY = 8
N = 600


def spec(world, **retry):
    world.spec(
        limits={"batch_size": 1, "concurrency": CONCURRENCY},
        retry={"attempts": 1, "max_delay_seconds": 0.1, **retry},
    )


def check_stopped(world, report, *, n_done):
    """It is told as failing; whoever was asked about has a row, and all others are pending."""
    assert report["stop_reason"] == "failing"
    assert report["records"]["done"] == n_done
    assert report["records"]["pending"] == N - n_done - report["records"]["failed"]
    assert "stopped because too much failed" in report["advice"]
    assert len(world.ids("failures")) == report["records"]["failed"]


@pytest.mark.parametrize(
    ("fault", "attempts"), [("3043", 1), ("3043", 3), ("5006", 3), ("garbage_json", 2), ("html502", 2)]
)
def test_the_first_fifty_all_fail(world, fault, attempts):
    """However it fails, no more than fifty records and what was in flight are tried, each as often as allowed."""
    world.records(sentences()[:N])
    spec(world, attempts=attempts)
    world.faults({"fault": fault})
    report = world.run(code=3)
    check_stopped(world, report, n_done=0)
    assert 50 <= report["records"]["failed"] <= 50 + 2 * CONCURRENCY
    assert world.requests <= (50 + 2 * CONCURRENCY) * attempts
    assert report["requests"]["sent"] == world.requests


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
    world.faults({"fault": "3043"})
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


def test_run_after_run_against_a_server_that_is_down(world):
    """Each try is bounded anew, and failures do not pile up twice."""
    world.records(sentences()[:N])
    spec(world)
    world.faults({"fault": "3043"})
    seen = 0
    for number in range(1, 4):
        report = world.run(code=3)
        assert world.requests - seen <= 50 + 2 * CONCURRENCY
        seen = world.requests
        assert report["records"]["failed"] == seen == len(set(world.ids("failures")))
        assert report["records"]["failed"] <= number * (50 + 2 * CONCURRENCY)
