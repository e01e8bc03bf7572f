"""Faults of the service over real sockets (acceptance 6; promises P1, P9, P10): typed outcomes, never a wrong row."""

import random
import socket
from collections import Counter

import pytest

from tests.support.cli import ended_with_peak, sentences
from tests.support.figures import figure
from tests.support.servers import canned

MIX = [
    {"fault": "3040", "share": 0.05},
    {"fault": "500", "share": 0.01},
    {"fault": "3043", "share": 0.01},
    {"fault": "html502", "share": 0.02},
    {"fault": "reset", "share": 0.02},
    {"fault": "truncated", "share": 0.02},
    {"fault": "success_false", "share": 0.02},
]
IMPATIENT = {"attempts": 2, "max_delay_seconds": 0.1}


@pytest.mark.slow
def test_a_bad_day(world):
    """Under a mixture of all usual faults every good record is answered; the poisoned one alone fails, by halving."""
    texts = [*sentences()[:1_000]]
    texts[777] += " POISON"
    world.records(texts)
    world.spec(limits={"batch_size": 5, "concurrency": 16}, retry={"max_delay_seconds": 0.1})
    world.faults({"fault": "3043", "match": "POISON"}, *MIX, seed=3)
    report = world.run(code=4)
    assert report["records"] == {"total": 1_000, "done": 999, "failed": 1, "pending": 0}
    assert report["stop_reason"] == "completed_with_failures"
    (failure,) = world.table("failures").to_pylist()
    assert (failure["id"], failure["code"], failure["http_status"]) == ("r00777", "3043", 500)
    assert failure["retryable"] is not None
    struck = world.stats()["requests"]["by_fault"]
    assert len(struck) >= 6
    assert report["requests"]["sent"] == world.requests
    assert report["neurons"]["spent"] >= 0.995 * world.metered
    world.check_once([f"r{n:05}" for n in range(1_000)])

    world.emulator.set_faults([])
    mended = world.run("job.yaml", "--retry-failed")
    assert mended["records"]["done"] == 1_000
    assert mended["requests"]["sent"] == 1
    world.check_once([f"r{n:05}" for n in range(1_000)])


# fault, what the failure row is called, whether the one bad text of a request fails alone
HOSTILE = [
    ({"fault": "big_body", "mb": 70}, "truncated", True),
    ({"fault": "gzip_bomb", "mb": 70}, "truncated", True),
    ({"fault": "slow_body", "seconds": 60}, "timed_out", True),
    ({"fault": "hang"}, "timed_out", True),
    ({"fault": "reset_mid_body"}, "truncated", True),
    ({"fault": "garbage_json"}, "truncated", True),
    ({"fault": "5006"}, "5006", True),
    ({"fault": "5021"}, "5021", True),
    ({"fault": "nan_vector"}, "unreadable_answer", None),
    ({"fault": "wrong_count"}, "unreadable_answer", None),
    ({"fault": "wrong_dim"}, "unreadable_answer", None),
    ({"fault": "deep_json"}, "unreadable_answer", None),
    ({"fault": "invalid_utf8"}, "unreadable_answer", None),
    ({"fault": "null_content"}, "unreadable_answer", None),
]


# what is counted for each, where it is the transport or the service that fails
COUNTED = {
    "3040": "3040",
    "3043": "3043",
    "success_false": "3043",
    "3046": "3046",
    "500": "http_500",
    "html502": "http_502",
    "503": "http_503",
    "reset": "truncated",
    "truncated": "truncated",
    "reset_mid_body": "truncated",
    "garbage_json": "truncated",
    "hang": "timed_out",
    "slow_body": "timed_out",
    "gzip_bomb": "truncated",
}
UNUSABLE = ("nan_vector", "wrong_count", "wrong_dim", "invalid_utf8", "deep_json")
RARE = {"hang": {"times": 2}, "slow_body": {"times": 2, "seconds": 60}, "gzip_bomb": {"times": 2, "mb": 40}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "n"),
    [
        (0, 1_000),
        *(
            pytest.param(seed, 10_000, marks=[pytest.mark.torture, pytest.mark.timeout(600)], id=f"{seed}-10000")
            for seed in range(10)
        ),
    ],
)
def test_every_fault_in_any_share(world, seed, n):
    """With 1 to 30 % of all answers spoilt, in any mixture: each record once, each fault by its name, no wrong row."""
    rng = random.Random(seed)
    texts = [f"{number}: {sentences()[number % len(sentences())]}" for number in range(n)]
    world.records(texts)
    spoilt = rng.uniform(0.01, 0.3) if n > 1_000 else 0.3
    parts = {fault: rng.random() for fault in (*COUNTED, *UNUSABLE)}
    scale = spoilt / sum(parts.values())
    rules = [{"fault": fault, "share": part * scale, **RARE.get(fault, {})} for fault, part in parts.items()]
    rng.shuffle(rules)
    world.spec(
        limits={"batch_size": 10, "concurrency": 16, "request_timeout_seconds": 8},
        retry={"max_delay_seconds": 0.05, "abort_share": 1},
        dedupe=False,
    )
    world.faults(*rules, seed=seed)
    ran = world.wai("run", "job.yaml", "--json", code=None, timeout=500)
    report, struck = ran.json, world.stats()["requests"]["by_fault"]
    assert report["stop_reason"] in {"completed", "completed_with_failures"}
    assert report["records"]["done"] + report["records"]["failed"] == n
    expected = Counter()
    for fault, count in struck.items():
        if fault in COUNTED:
            expected[COUNTED[fault]] += count
    counted = {code: count for code, count in report["codes"].items() if code != "unreadable_answer"}
    assert counted == expected
    assert report["requests"]["sent"] == world.requests
    assert report["neurons"]["spent"] >= 0.995 * world.metered
    ids = [f"r{number:05}" for number in range(n)]
    world.check_once(ids)

    failed = report["records"]["failed"]
    figure(
        "faults",
        seed=seed,
        records=n,
        share=round(spoilt, 3),
        kinds=len(struck),
        struck=sum(struck.values()),
        failed=failed,
    )
    world.emulator.set_faults([])
    if failed:
        assert world.run("job.yaml", "--retry-failed")["records"]["done"] == n
    world.check_once(ids)
    world.spec("good.yaml", output={"path": "good"}, dedupe=False)
    world.run("good.yaml")
    rows, good = (dict(zip(world.ids(output=name), vectors(world, name), strict=True)) for name in ("out", "good"))
    assert rows == good


def vectors(world, output):
    """The vectors of an output, as bytes."""
    column = world.table(output=output)["embedding"].combine_chunks()
    return [row.tobytes() for row in column.flatten().to_numpy().reshape(len(column), -1)]


@pytest.mark.slow
def test_hostile_answers(world):
    """Answers that cannot be used become failure rows with their kind, never a wrong row; memory stays bounded."""
    size, n = 5, 5 * len(HOSTILE)
    texts = [*sentences()[:n]]
    bad = {f"r{size * number + 2:05}": number for number in range(len(HOSTILE))}
    for name, number in bad.items():
        texts[int(name[1:])] += f" BAD-{number:02}"
    world.records(texts)
    world.spec(
        limits={"batch_size": size, "concurrency": 4, "request_timeout_seconds": 2.5},
        retry={"attempts": 1, "max_delay_seconds": 0.1, "abort_share": 1},
    )
    world.faults(*({**rule, "match": f" BAD-{number:02}"} for number, (rule, _, _) in enumerate(HOSTILE)))
    report, peak = measured(world)
    codes = {row["id"]: row["code"] for row in world.table("failures").to_pylist()}
    for name, number in bad.items():
        _, code, is_alone = HOSTILE[number]
        assert codes.pop(name) == code, HOSTILE[number]
        others = [codes.pop(f"r{n:05}", None) for n in range(size * number, size * number + size)]
        assert set(others) <= ({None} if is_alone else {None, code}), HOSTILE[number]
    assert not codes
    assert report["records"]["done"] == n - report["records"]["failed"]
    assert peak < 400 * 2**20
    world.check_once([f"r{n:05}" for n in range(n)])

    world.emulator.set_faults([])
    world.spec("good.yaml", output={"path": "good"}, limits={"batch_size": size})
    world.run("good.yaml")
    expected = {row["id"]: row["embedding"] for row in world.table(output="good").to_pylist()}
    rows = world.table().to_pylist()
    assert rows
    assert all(row["embedding"] == expected[row["id"]] for row in rows)


def measured(world):
    """Run the job; return its report and the peak of its resident memory in bytes."""
    with world.start("run", "job.yaml", "--json", fresh=True) as running:
        ran, peak = ended_with_peak(running, 60)
    assert ran.code == 4, ran.said
    return ran.json, peak


def test_an_answer_without_text(world):
    """A generated answer without content is a failure row that says what to do; the others are answered."""
    texts = [*sentences()[:12]]
    texts[5] += " BAD"
    world.records(texts)
    world.spec(task="generate", retry={"attempts": 1})
    world.faults({"fault": "null_content", "match": " BAD"})
    report = world.run(code=4)
    assert report["records"] == {"total": 12, "done": 11, "failed": 1, "pending": 0}
    (failure,) = world.table("failures").to_pylist()
    assert failure["id"] == "r00005"
    assert "max_tokens" in failure["message"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"fault": "10000"}, "CLOUDFLARE_API_TOKEN"),
        ({"fault": "9106"}, "CLOUDFLARE_API_TOKEN"),
        ({"fault": "5007"}, "wai models"),
        ({"fault": "3042"}, "wai models"),
        ({"fault": "5035"}, "Paid"),
        ({"fault": "7003"}, "CLOUDFLARE_ACCOUNT_ID"),
        ({"fault": "2001"}, "gateway"),
        ({"fault": "redirect"}, "CLOUDFLARE_BASE_URL"),
    ],
)
def test_refused_as_a_whole(world, rule, words):
    """Token, account, model or address refused: exit 12 at once with one sentence on what to mend; nothing fails."""
    world.records(sentences()[:300])
    world.spec(limits={"batch_size": 5, "concurrency": 4})
    world.faults(rule)
    ran = world.wai("run", "job.yaml", "--json", code=12)
    assert ran.json["stop_reason"] == "refused"
    assert ran.json["records"] == {"total": 300, "done": 0, "failed": 0, "pending": 300}
    assert words in ran.json["advice"]
    assert world.requests <= 4


def test_a_redirect_is_not_followed(world):
    """A redirect to another host gets neither the request nor the token."""
    elsewhere = []
    world.records(sentences()[:5])
    world.spec()
    with canned((200, {}, b"{}"), seen=elsewhere) as other, canned((302, {"location": other}, b"")) as url:
        world.wai("run", "job.yaml", env={"CLOUDFLARE_BASE_URL": url}, code=12)
    assert elsewhere == []


def test_nobody_listens(world):
    """Without a connection the run stops as failing; the records stay pending, and a later run completes."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/client/v4"
        world.records(sentences()[:200])
        world.spec(retry=IMPATIENT, limits={"batch_size": 20})
        ran = world.wai("run", "job.yaml", "--json", env={"CLOUDFLARE_BASE_URL": url}, code=3)
    assert ran.json["stop_reason"] == "failing"
    assert ran.json["records"] == {"total": 200, "done": 0, "failed": 0, "pending": 200}
    assert ran.json["neurons"]["spent"] == 0
    assert "connect" in ran.json["advice"]
    assert world.run()["records"]["done"] == 200


def test_everything_fails(world):
    """When every answer is a server fault the run stops as failing long before the input is used up."""
    world.records(sentences()[:1_000])
    world.spec(limits={"batch_size": 1}, retry={"attempts": 1, "max_delay_seconds": 0.1})
    world.faults({"fault": "3043"})
    report = world.run(code=3)
    assert report["stop_reason"] == "failing"
    assert report["records"]["pending"] > 500
    assert world.requests < 300


def test_one_slow_answer_does_not_hold_up_the_others(world):
    """While one request trickles, the others go on; it is answered on the second attempt."""
    world.records(sentences()[:200])
    world.spec(
        limits={"batch_size": 10, "concurrency": 4, "request_timeout_seconds": 2}, retry={"max_delay_seconds": 0.1}
    )
    world.faults({"fault": "slow_body", "seconds": 60, "times": 1, "after": 3})
    report = world.run()
    assert report["records"]["done"] == 200
    assert report["codes"] == {"timed_out": 1}
    assert 2 <= report["seconds"] < 10
