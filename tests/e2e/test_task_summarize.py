"""`wai run` on a summary job: real pages, longer than the model is said to read."""

from pydoc_data.topics import topics

from tests.support.cli import write_jsonl

PAGES = ("compound", "types", "await", "in")


def job(world, **groups):
    write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": topics[name]} for name in PAGES])
    return world.spec(task="summarize", params={"max_tokens": 120}, **groups)


def rows(world):
    return {row["id"]: row for row in world.table().to_pylist()}


def test_long_pages_come_to_one_summary_each(world):
    """In parts where they are longer than the context; every request is paid for in its row."""
    job(world, model_info={"context_window": 4_000})
    report = world.run()
    found = rows(world)
    assert set(found) == set(PAGES)
    assert found["await"]["n_pieces"] == 1
    assert found["compound"]["n_pieces"] >= 5
    assert all(row["summary"].startswith("[simulated]") for row in found.values())
    in_parts = sum(row["n_pieces"] > 1 for row in found.values())
    assert world.requests == sum(row["n_pieces"] for row in found.values()) + in_parts
    assert sum(row["neurons"] for row in found.values()) >= world.metered * 0.995
    assert report["neurons"]["spent"] >= world.metered * 0.995


def test_a_text_the_service_finds_too_large_is_halved(world):
    """5021 counts input and answer together by an estimate of its own."""
    job(world)
    world.faults({"fault": "5021", "match": "Compound statements", "times": 1})
    world.run()
    assert rows(world)["compound"]["n_pieces"] == 2


def test_a_resumed_run_sends_nothing_again(world):
    job(world, model_info={"context_window": 4_000})
    world.run("job.yaml", "--limit", "2")
    sent = world.requests
    world.run()
    assert set(rows(world)) == set(PAGES)
    world.run()
    assert world.requests == sent + 2  # the two short pages
