"""`wai run` on a translation job: real pages in, whole translations out."""

from pydoc_data.topics import topics

from pipeline.tasks.translation.shields import plain_shields
from tests.support.cli import write_jsonl

PAGES = {name: topics[name] for name in ("comparisons", "await", "debugger")}


def job(world, **params):
    write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": text} for name, text in PAGES.items()])
    return world.spec(task="translate", params={"source_lang": "en", "target_lang": "German", **params})


def check(world):
    """Each page is there, with its own white space, in capitals but for code; the emulator marks every piece."""
    rows = {row["id"]: row for row in world.table().to_pylist()}
    assert set(rows) == set(PAGES)
    for name, page in PAGES.items():
        translation = rows[name]["translation"].replace("[simulated] ", "")
        assert translation.upper().split() == page.upper().split()
        assert all(shield.origin in translation for shield in plain_shields(page))
        assert sum(map(str.isupper, translation)) > 0.6 * sum(map(str.isalpha, translation))
        assert rows[name]["warnings"] == []
        assert translation.count("\n\n") == page.count("\n\n")
        assert (rows[name]["source_lang"], rows[name]["target_lang"]) == ("en", "de")
    return rows


def test_long_pages_are_translated_whole(world):
    """Many requests a record, one row, nothing missing; the sum of the charges is the meter's."""
    job(world)
    plan = world.wai("plan", "job.yaml", "--json").json
    report = world.run()
    rows = check(world)
    assert world.requests > 100
    assert report["neurons"]["spent"] <= plan["neurons"]["at_most"]
    assert sum(row["neurons"] for row in rows.values()) >= world.metered * 0.995


def test_pieces_that_are_refused_as_too_large_are_halved(world):
    """The parts stand in the place of their whole."""
    job(world)
    world.faults({"fault": "3006", "share": 0.3})
    world.run("job.yaml", "--set", "retry.attempts=2", code=None)
    world.faults()
    world.run("job.yaml", "--retry-failed", code=None)
    check(world)


def test_a_changed_glossary_translates_again_what_it_is_about(world):
    """As for a changed text, on demand; what is sent is the same, so nothing is paid for again."""
    terms = world.folder / "terms.csv"
    terms.write_text("source,target\nworker,Arbeiter\n", encoding="utf-8")
    texts = ["Nobody is here."] * 100 + ["The worker runs here."] * 20
    world.records([f"{text} Number {n}." for n, text in enumerate(texts)])
    world.spec(task="translate", params={"source_lang": "en", "target_lang": "de", "glossary": "terms.csv"})
    world.run()
    assert sum("THE Arbeiter RUNS HERE." in text for text in world.table()["translation"].to_pylist()) == 20
    asked = world.requests
    terms.write_text("source,target\nworker,Hilfskraft\n", encoding="utf-8")
    assert world.wai("plan", "job.yaml", "--json").json["records"]["changed"] == 20
    world.run("job.yaml", "--replace-changed")
    rows = {row["id"]: row["translation"].upper() for row in world.table().to_pylist()}
    assert ["HILFSKRAFT" in rows[f"r{n:05}"] for n in range(120)] == [False] * 100 + [True] * 20
    assert world.requests == asked
    terms.write_text("source,target\nworker,\n", encoding="utf-8")
    said = world.wai("validate", "job.yaml", code=2).err
    assert "params.glossary" in said
    assert "terms.csv:2: target is empty" in said


def test_a_language_the_model_lacks_is_found_before_anything_is_sent(world):
    """With file, line and key, and the way out."""
    job(world, target_lang="te")
    said = world.wai("run", "job.yaml", code=2).err
    assert "params.target_lang" in said
    assert "Telugu" in said
    assert "indictrans2" in said
    assert world.requests == 0
