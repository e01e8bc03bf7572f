"""`wai run` on texts in several languages: what is in the target language already costs nothing."""

import pytest

from tests.support.cli import write_jsonl

TEXTS = {
    "en-1": "The weather was so bad that nobody wanted to leave the house in the evening.",
    "en-2": "She told us that the train had already left when they arrived at the station.\n\nThen they walked home.",
    "de-1": "Das Wetter war so schlecht, dass abends niemand mehr aus dem Haus gehen wollte.",
    "de-2": "# Nachricht\n\nDer Zug war schon abgefahren, als sie am Bahnhof ankamen.\n\n- Sie gingen zu Fuß.",
    "fr-1": "Il faisait si mauvais temps que personne ne voulait sortir de la maison le soir.",
    "number": "12:30\n\n14:45 %",
    "again": "12:30\n\n14:45 %",
    "short": "Taxi!",
}
UNSENT = {"de-1", "de-2", "number", "again"}


@pytest.fixture
def job(world):
    """Writes the corpus and a job for it."""

    def write(**params):
        write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": text} for name, text in TEXTS.items()])
        return world.spec(task="translate", params={"target_lang": "German", **params})

    return write


def by_id(world, kind="results"):
    return {row["id"]: row for row in world.table(kind).to_pylist()}


def check_unsent(rows):
    """They stand as they were, and cost nothing."""
    for name in UNSENT & rows.keys():
        row = rows[name]
        assert row["translation"] == TEXTS[name]
        assert (row["neurons"], row["attempts"], row["latency_ms"]) == (0.0, 0, 0.0)
        assert (row["model"], row["target_lang"]) == ("@cf/meta/m2m100-1.2b", "de")


def test_what_is_in_the_target_language_is_passed_through(world, job):
    """The plan says so, the run sends the rest, and the meter agrees; a second run finds nothing to do."""
    job(source_lang="en", detect_language=True)
    plan = world.wai("plan", "job.yaml", "--json").json
    assert (plan["records"]["unsent"], plan["requests"]) == (len(UNSENT), 5)
    assert "4 need no request" in world.wai("plan", "job.yaml").out
    report = world.run()
    rows = by_id(world)
    world.check_once(TEXTS)
    check_unsent(rows)
    assert {rows[name]["source_lang"] for name in ("de-1", "de-2")} == {"de"}
    assert {rows[name]["source_lang"] for name in ("en-1", "fr-1", "short", "number")} == {"en"}
    assert all("[simulated]" in rows[name]["translation"] for name in TEXTS.keys() - UNSENT)
    assert world.requests == report["requests"]["sent"] == 5
    assert sum(row["neurons"] for row in rows.values()) == pytest.approx(world.metered, rel=0.005)
    assert world.run()["records"] == report["records"]
    assert world.requests == 5


def test_each_text_is_translated_from_the_language_it_shows(world, job):
    """One that shows none is a failure row that says what to do; done, it alone is sent."""
    job(source_lang="auto")
    world.run(code=4)
    rows = by_id(world)
    check_unsent(rows)
    assert {name: row["source_lang"] for name, row in rows.items()} == {
        "en-1": "en",
        "en-2": "en",
        "de-1": "de",
        "de-2": "de",
        "fr-1": "fr",
        "number": None,
        "again": None,
    }
    (failure,) = by_id(world, "failures").values()
    assert (failure["id"], failure["attempts"]) == ("short", 0)
    assert "source_lang_if_unsure" in failure["message"]
    assert world.requests == 4
    told = world.wai("explain", "job.yaml", "de-1").out
    assert "needs no answer" in told
    assert "shares" not in told


def test_a_job_of_nothing_to_translate_spends_nothing(world, job):
    """It completes, even with no allowance left."""
    job(source_lang="en", detect_language=True)
    write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": TEXTS[name]} for name in sorted(UNSENT)])
    plan = world.wai("plan", "job.yaml", "--json").json
    assert (plan["requests"], plan["neurons"]["at_most"]) == (0, 0)
    report = world.run("job.yaml", "--set", "budget.neurons_per_day=1")
    assert (report["stop_reason"], report["records"]["done"]) == ("completed", len(UNSENT))
    assert world.requests == world.metered == 0
    check_unsent(by_id(world))


@pytest.mark.parametrize("include", [True, False])
def test_through_the_queue_and_with_the_input_in_the_row(world, job, include):
    """Other ways to send change nothing of it."""
    job(source_lang="auto", source_lang_if_unsure="en")
    world.run("job.yaml", "--set", f"output.include_input={str(include).lower()}", "--set", "endpoint.mode=queue")
    world.check_once(TEXTS)
    rows = by_id(world)
    check_unsent(rows)
    assert rows["short"]["source_lang"] == "en"
    if include:
        assert all(rows[name]["input"] == TEXTS[name] for name in TEXTS)
