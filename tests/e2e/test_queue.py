"""Cloudflare's queue through the command line: nothing queued is lost or paid twice; models without one are served."""

import json

from tests.support.cli import KILL, come_to_rest, sentences

QUEUE = {"kind": "workers-ai", "mode": "queue"}
LLAMA = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
M2M = "@cf/meta/m2m100-1.2b"


def notes(world):
    lines = (world.folder / "out" / "run" / "queue.jsonl").read_text().split()
    return [json.loads(line) for line in lines]


def test_a_job_goes_through_the_queue(world):
    """Answers come out of order, under either name and nested; every record gets its own."""
    world.records(sentences()[:250])
    world.spec(task="translate", model=M2M, endpoint=QUEUE, params={"source_lang": "en", "target_lang": "de"})
    report = world.run()
    assert report["records"]["done"] == 250
    rows = {row["id"]: row for row in world.table().to_pylist()}
    for number, text in enumerate(sentences()[:250]):
        word = max(text.split(), key=len)
        assert word.upper() in rows[f"r{number:05}"]["translation"].upper()
    kinds = [next(iter(note)) for note in notes(world)]
    assert kinds.count("intent") == kinds.count("queued") == kinds.count("collected") >= 3
    assert abs(report["neurons"]["spent"] - world.metered) < 0.01 * world.metered + 0.01


def test_what_a_killed_run_has_queued_is_collected_by_the_next(world):
    """Request ids are on disk before they are asked about."""
    world.records(sentences()[:90])
    world.spec(task="translate", model=M2M, endpoint=QUEUE, params={"source_lang": "en", "target_lang": "de"})
    with world.start("run", "job.yaml") as running:
        path = world.folder / "out" / "run" / "queue.jsonl"
        world.wait_for(lambda: path.exists() and '"queued"' in path.read_text(), what="a receipt")
        running.send(KILL)
        running.ended()
    come_to_rest(world.emulator)
    texts = world.stats()["texts"]
    ran = world.wai("run", "job.yaml")
    assert "collecting 1 queued requests of an earlier run" in ran.said
    assert len(world.ids()) == 90
    assert world.stats()["texts"] == texts, "nothing was asked twice"


def test_a_model_without_a_queue_is_served_directly(world):
    """8007 says so, once; the job goes on."""
    world.records(sentences()[:30])
    model = "@cf/meta/llama-3.2-3b-instruct"
    world.spec(task="generate", model=model, endpoint=QUEUE, params={"max_tokens": 16})
    ran = world.wai("run", "job.yaml")
    assert ran.said.count("does not support request queuing: every request is sent alone") == 1
    assert len(world.ids()) == 30


def test_a_model_that_is_known_to_have_none_is_refused_in_the_plan(world):
    world.records(["a"])
    world.spec(task="rerank", text=None, params={"query": "q"}, endpoint=QUEUE)
    assert "has no queue" in world.wai("validate", "job.yaml", code=2).said


def test_a_record_that_the_queue_refuses_fails_alone(world):
    """The others of its request are answered."""
    texts = sentences()[:10]
    world.records([*texts, "word " * 40_000])
    world.spec(task="generate", model=LLAMA, endpoint=QUEUE, params={"max_tokens": 16})
    report = world.run(code=4)
    assert (report["records"]["done"], report["records"]["failed"]) == (10, 1)
    assert "refused by the queue" in world.table("failures")["message"][0].as_py()
