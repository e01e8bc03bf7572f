"""Pieces are paid once: across a crash, across records, and across runs."""

import json

from pipeline.tasks.translation.shields import plain_shields
from tests.support.cli import KILL, come_to_rest, sentences

LANGUAGES = {"source_lang": "en", "target_lang": "de"}


def documents(world, n, size, *, first=0):
    """Documents of `size` sentences each, a paragraph a sentence, and their number."""
    lines = sentences()
    texts = ["\n\n".join(lines[first + at * size : first + (at + 1) * size]) for at in range(n)]
    world.records(texts)
    return texts


def test_a_kill_in_the_middle_of_a_document_pays_no_finished_piece_again(world):
    """What was answered is found by the next run, and the row is as if nothing had happened."""
    (text,) = documents(world, 1, 120)
    world.spec(task="translate", params=LANGUAGES, limits={"concurrency": 4})
    world.latency(0.05)
    with world.start("run", "job.yaml") as running:
        world.wait_for(lambda: world.stats()["requests"]["inference"] >= 40, what="forty answers")
        running.send(KILL)
        running.ended()
    world.latency(0.0)
    before = world.stats()["requests"]["inference"]
    world.run()
    after = world.stats()["requests"]["inference"]
    pieces = len([line for line in text.split("\n\n") if line])
    assert before + (after - before) <= pieces + 4 + 60, "long sentences are cut further; in flight at most four"
    assert world.stats()["input_digests"]["repeated"] <= 4
    (row,) = world.table().to_pylist()
    assert row["translation"].count("\n\n") == text.count("\n\n")
    assert not (world.folder / "out" / "run" / "pieces.sqlite3").exists(), "it has served"


def test_a_record_that_failed_in_one_piece_pays_for_that_piece_only_when_it_is_sent_again(world):
    """The answers to its other pieces are kept for as long as a failure may be sent again."""
    lines = sorted({line for line in sentences() if len(line) < 300})[:20]
    world.records(["\n\n".join([*lines, "This one is BAD for some reason."])])
    world.spec(task="translate", params=LANGUAGES, cache=False)
    world.faults({"fault": "5006", "match": " BAD"})
    world.run(code=4)
    world.faults()
    world.run(code=4)  # nothing to send: what may be sent again stays
    assert world.run("job.yaml", "--retry-failed")["records"]["done"] == 1
    assert world.stats()["requests"]["inference"] <= 20 + 2
    assert not (world.folder / "out" / "run" / "pieces.sqlite3").exists(), "it has served"


def test_answers_that_were_paid_for_and_cannot_be_read_stop_the_next_run(world):
    """Before anything is sent, with the way out; the way out works."""
    documents(world, 1, 60)
    world.spec(task="translate", params=LANGUAGES, limits={"concurrency": 4}, cache=False)
    world.latency(0.05)
    with world.start("run", "job.yaml") as running:
        world.wait_for(lambda: world.stats()["requests"]["inference"] >= 12, what="some answers")
        running.send(KILL)
        running.ended()
    world.latency(0.0)
    come_to_rest(world.emulator)
    assert world.wai("status", "job.yaml", "--verify", "--json").json["problems"] == []
    pieces = world.folder / "out" / "run" / "pieces.sqlite3"
    with pieces.open("r+b") as file:
        file.write(b"not SQLite")
    asked = world.requests
    told = world.wai("run", "job.yaml", code=10).err
    assert "pieces.sqlite3: damaged" in told
    assert "remove it" in told
    assert world.requests == asked
    assert "pieces.sqlite3: damaged" in world.wai("status", "job.yaml", "--verify", code=10).said
    for left in pieces.parent.glob("pieces.sqlite3*"):
        left.unlink()
    assert world.run()["records"]["done"] == 1


def test_a_broken_cache_costs_no_run(world):
    """Set aside with a note; the run goes on without it, and the next one begins a new one."""
    world.records([line for line in sentences() if len(line) < 300][:10])
    world.spec(task="translate", params=LANGUAGES)
    cache = world.folder / "state" / "cache-simulated.sqlite3"
    cache.parent.mkdir(exist_ok=True)
    cache.write_bytes(b"this is no database" * 500)
    ran = world.wai("run", "job.yaml", "--json")
    assert ran.json["records"]["done"] == 10
    assert ran.err.count("the cache of answers is left out for the rest of this run") == 1
    assert not cache.exists()
    assert cache.with_name("cache-simulated.sqlite3.damaged").exists()
    world.spec("again.yaml", task="translate", params=LANGUAGES, output={"path": "again"})
    assert "cache" not in world.wai("run", "again.yaml", "--json").err
    assert world.wai("cache", "--json").json["cache"][1]["answers"] != {}


def test_equal_pieces_of_several_records_are_paid_once(world):
    """A corpus of which 30 % is repeated makes 30 % fewer requests."""
    lines = sorted({line for line in sentences() if len(line) < 300 and not plain_shields(line)}, key=len)[:140]
    fresh, repeated = lines[:70], lines[:30]
    texts = ["\n\n".join(fresh[at : at + 10]) for at in range(0, 70, 10)]
    texts += ["\n\n".join(repeated[at : at + 10][::-1]) for at in range(0, 30, 10)]
    world.records(texts)
    world.spec(task="translate", params=LANGUAGES, dedupe=False)
    world.run()
    assert world.stats()["requests"]["inference"] == 70
    assert len(world.ids()) == 10
    rows = {row["id"]: row for row in world.table().to_pylist()}
    assert rows["r00007"]["translation"].split("\n\n") == rows["r00000"]["translation"].split("\n\n")[::-1]


def test_a_grown_dataset_pays_for_what_is_new(world):
    """Another output, the same texts and a tenth more: only these are sent. The cache can be left out, and cleared."""
    texts = [line for line in sentences() if len(line) < 300 and line.startswith(("A ", "The "))][:110]
    world.records(texts[:100])
    world.spec(task="translate", params=LANGUAGES)
    world.run()
    assert world.stats()["requests"]["inference"] == 100
    world.records(texts)
    world.spec("again.yaml", task="translate", params=LANGUAGES, output={"path": "again"})
    report = world.run("again.yaml")
    assert world.stats()["requests"]["inference"] == 110
    assert report["records"]["done"] == 110
    rows = world.table(output="again").to_pylist()
    assert sum(row["neurons"] > 0 for row in rows) == 10
    shown = world.wai("cache", "--json").json["cache"]
    assert [sum(entry["answers"].values()) for entry in shown if entry["simulated"]] == [110]
    world.spec("other.yaml", task="translate", params={**LANGUAGES, "target_lang": "fr"}, output={"path": "other"})
    world.run("other.yaml")
    assert world.stats()["requests"]["inference"] == 220, "another language is another question"
    assert "removed" in world.wai("cache", "--clear").out
    world.spec("third.yaml", task="translate", params=LANGUAGES, output={"path": "third"}, cache=False)
    world.run("third.yaml")
    assert world.stats()["requests"]["inference"] == 330
    assert json.loads(world.wai("cache", "--json").out)["cache"][1]["answers"] == {}
