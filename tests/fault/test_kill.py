"""SIGKILL in mid-run (acceptance 4; promises P1, P2): every row once, and no durable answer is asked for again."""

import json
import random
import time

import pytest

from tests.support.cli import KILL, sentences

N = 1_500
BATCH = 10
IN_FLIGHT = 8
KILLS = 3


@pytest.mark.slow
def test_killed_three_times(world):
    """Killed three times at different moments, a job ends with every row once and repeats only what was in flight."""
    rng = random.Random(1)
    world.records(sentences()[:N])
    world.spec(
        limits={"batch_size": BATCH, "concurrency": IN_FLIGHT},
        checkpoint={"seconds": 1, "rows_per_part": 100},
        output={"path": "out", "include_input": True},
    )
    world.faults({"fault": "latency", "seconds": 0.1})
    durable = 0
    for number in range(KILLS):
        with world.start("run", "job.yaml", "--json") as running:
            wanted = world.stats()["texts"] + rng.randint(150, 400)
            world.wait_for(lambda wanted=wanted: world.stats()["texts"] >= wanted, what="some answers")
            assert running.child.poll() is None
            running.send(KILL)
            running.ended()
        state = world.wai("status", "job.yaml", "--json").json
        assert state["records"]["done"] > durable, f"kill {number} lost everything"
        durable = state["records"]["done"]
    world.emulator.set_faults([])
    report = world.run()
    assert report["records"] == {"total": N, "done": N, "failed": 0, "pending": 0}
    world.check_once([f"r{n:05}" for n in range(N)])
    texts = dict(zip(world.ids(), world.table()["input"].to_pylist(), strict=True))
    assert texts == {f"r{n:05}": text for n, text in enumerate(sentences()[:N])}
    stats = world.stats()
    assert stats["input_digests"]["distinct"] == N
    # on the wire, or answered and on the way to the journal
    assert stats["input_digests"]["repeated"] <= KILLS * 2 * IN_FLIGHT * BATCH
    assert report["neurons"]["spent"] >= 0.995 * stats["neurons"]
    assert world.run()["requests"]["sent"] == 0


@pytest.mark.slow
def test_answers_older_than_a_second_are_kept(world_with, tmp_path):
    """What was answered more than a second before the kill is never requested again."""
    log = tmp_path / "requests.log"
    world = world_with("--no-rate-limit", "--latency-ms", "40,60", "--request-log", str(log))
    world.records(sentences()[:1_500])
    world.spec(limits={"batch_size": 10, "concurrency": 4})
    with world.start("run", "job.yaml", "--json") as running:
        world.wait_for(lambda: world.stats()["texts"] >= 300, what="some answers")
        before = world.stats()["texts"]
        time.sleep(1.0)
        running.send(KILL)
        running.ended()
    kept = world.wai("status", "job.yaml", "--json").json["records"]["done"]
    assert kept >= before
    assert world.run()["records"]["done"] == 1_500
    world.check_once([f"r{n:05}" for n in range(1_500)])
    answered = sum(entry["texts"] for entry in map(json.loads, log.read_text().splitlines()) if entry["status"] == 200)
    assert answered == world.stats()["texts"]
    assert answered - 1_500 <= 2 * 4 * 10


@pytest.mark.slow
def test_kills_never_overspend(world):
    """Killed again and again into the end of its budget, a job never spends more than the budget (P3)."""
    world.records(sentences())
    world.spec(
        model="@cf/baai/bge-large-en-v1.5",
        limits={"batch_size": 10, "concurrency": 8},
        budget={"neurons_per_day": 60},
    )
    world.latency(0.05)
    for share in (0.3, 0.6):
        with world.start("run", "job.yaml", "--json") as running:
            world.wait_for(
                lambda share=share, running=running: world.metered >= 60 * share or running.child.poll() is not None,
                what="some spending",
            )
            running.send(KILL)
            running.ended()
    report = world.run(code=3)
    assert report["stop_reason"] == "budget_spent"
    assert world.metered <= 60
    assert report["neurons"]["remaining_today"] <= 0.6
