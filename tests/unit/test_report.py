"""The report: the same facts as a value, as JSON and as words."""

import orjson
import pytest

from pipeline.events import StopReason
from pipeline.report import RunReport


def report(**changes):
    facts = {
        "job": "wiki",
        "output": "out/wiki",
        "stop_reason": StopReason.BUDGET_SPENT,
        "total": 1200,
        "done": 1000,
        "failed": 3,
        "pending": 197,
        "spent": 12.3456789,
        "spent_this_run": 2.5,
        "reserved": 0.0,
        "budget": 10_000.0,
        "remaining_today": 9_987.5,
        "sent": 1010,
        "retried": 7,
        "deduplicated": 40,
        "seconds": 20.12345,
        "simulated": False,
        "rows": 1004,
        "done_this_run": 400,
    }
    return RunReport(**{**facts, **changes})


def test_the_json_object_has_exactly_these_keys():
    """Programs read it: a key that goes is a break."""
    made = report(codes={"3040": 2}).to_json()
    assert made == {
        "job": "wiki",
        "output": "out/wiki",
        "stop_reason": "budget_spent",
        "simulated": False,
        "records": {"total": 1200, "done": 1000, "failed": 3, "pending": 197},
        "rows": 1004,
        "neurons": {
            "spent": 12.345679,
            "spent_this_run": 2.5,
            "reserved": 0.0,
            "budget": 10_000.0,
            "remaining_today": 9_987.5,
        },
        "requests": {"sent": 1010, "retried": 7, "deduplicated": 40},
        "codes": {"3040": 2},
        "truncated": 0,
        "seconds": 20.123,
        "advice": "",
    }
    assert orjson.loads(orjson.dumps(made)) == made


@pytest.mark.parametrize("reason", StopReason)
def test_the_reason_has_one_name(reason):
    """In JSON as it is, in words without underscores."""
    made = report(stop_reason=reason)
    assert made.to_json()["stop_reason"] == reason.value
    assert made.lines()[0] == f"wiki: {reason.value.replace('_', ' ')}"


def test_rows_are_told_where_records_have_several():
    """Records are counted as records; where there are more rows, both are said."""
    assert "rows)" not in "\n".join(report(not_in_input=4).lines())
    assert "out/wiki/results (2,500 rows)" in "\n".join(report(rows=2500).lines())


@pytest.mark.parametrize(
    ("seconds", "words"), [(20.12, "in 20.1 s"), (600, "in 0:10:00"), (183_845.4, "in 2 days, 3:04:05")]
)
def test_a_long_run_is_told_in_hours(seconds, words):
    """Nobody reads 183,845.4 s."""
    assert words in "\n".join(report(seconds=seconds).lines())


def test_a_simulated_run_says_so():
    """P11: nobody takes it for the real thing."""
    assert "simulated" in report(simulated=True).lines()[0]
    assert report(simulated=True).to_json()["simulated"] is True


def test_the_words_say_what_the_json_says():
    """Counts, neurons, faults, places, and what to do next."""
    text = "\n".join(report(codes={"3040": 2, "3021": 9}, truncated=5, advice="run again", not_in_input=4).lines())
    for part in (
        "1,000 done, 3 failed, 197 pending of 1,200; 40 shared",
        "2.50 this run, 12.35 this job; 9,987.50 of 10,000 left today",
        "1,010 sent, 7 retried, in 20.1 s (20 records/s)",
        "3021 x9, 3040 x2",
        "5 answers ended at max_tokens",
        "rows of 4 records no longer in the input",
        "out/wiki/results",
        "out/wiki/failures",
        "next      run again",
    ):
        assert part in text


def test_what_did_not_happen_is_not_mentioned():
    """A clean run is a short report."""
    text = "\n".join(report(failed=0, deduplicated=0, sent=0, done_this_run=0).lines())
    for word in ("faults", "truncated", "kept", "failures", "next", "shared", "records/s"):
        assert word not in text


@pytest.mark.parametrize(
    ("done", "pace"), [(1000, "(50 records/s)"), (30_000, "(1,491 records/s)"), (4, "(0.2 records/s)")]
)
def test_the_pace_is_that_of_this_run(done, pace):
    """What earlier runs have answered took this one no time; slow runs are told with a decimal."""
    assert pace in report(done=99_999, done_this_run=done, seconds=20.12).lines()[3]


def test_equal_sums_read_equally():
    """A sum of charges and the book differ in the last bits only; two decimals must not make that a difference."""
    assert "0.23 this run, 0.23 this job" in report(spent=0.235, spent_this_run=0.235 + 1e-12).lines()[2]


@pytest.mark.parametrize(("n", "words"), [(1, "rows of 1 record no"), (2, "rows of 2 records no")])
def test_one_is_singular(n, words):
    """Nobody reads "1 records"."""
    assert words in "\n".join(report(not_in_input=n).lines())
