"""`wai explain`: the story of one record through the command line, in words and as JSON (promises P1, P9)."""

import json

import pytest

from tests.support.cli import sentences, write_jsonl

OFFLINE = {
    "CLOUDFLARE_BASE_URL": "http://127.0.0.1:9/client/v4",
    "CLOUDFLARE_API_TOKEN": "",
    "CLOUDFLARE_ACCOUNT_ID": "",
}
MARKED = "a sentence that meets a fault"


@pytest.fixture
def ready(world):
    """A world with 30 records, the eighth of which can be told by its text, and a request for each."""
    world.records([*sentences()[:7], MARKED, *sentences()[7:29]])
    world.spec(limits={"batch_size": 1})
    return world


def explained(world, record_id, *options, spec="job.yaml"):
    """The JSON of a record, asked without network or token."""
    return world.wai("explain", spec, record_id, "--json", *options, env=OFFLINE).json


def told(world, record_id, *options, spec="job.yaml"):
    """The words about a record; one line each, and short enough to read."""
    words = world.wai("explain", spec, record_id, *options, env=OFFLINE).out
    assert all(len(line) <= 140 for line in words.splitlines())
    return words


def test_a_record_that_was_retried(ready):
    """An answer that came at the second attempt is told with the refusal before it, and where its row is."""
    ready.faults({"fault": "3040", "match": MARKED, "times": 2})
    ready.run()
    value = explained(ready, "r00007")
    assert value["state"] == "done"
    assert value["input"].items() >= {"file": "data.jsonl", "row": 7, "text": MARKED, "unusable": None}.items()
    assert 0 < value["neurons"]["expected"] <= value["neurons"]["at_most"]
    assert [(each["attempt"], each["code"], each["http_status"]) for each in value["attempts"]] == [
        (1, "3040", 429),
        (2, "3040", 429),
    ]
    assert all(each["next_within_seconds"] > 0 and each["records"] == 1 for each in value["attempts"])
    place = value["stored"]
    assert ready.table().slice(place["row"], 1)["id"].to_pylist() == ["r00007"]
    assert place["file"] == "results/part-00000.parquet"
    assert place["values"]["attempts"] == 3
    assert place["values"]["model"] == "@cf/baai/bge-m3"
    assert place["values"].keys() >= {"neurons", "latency_ms", "finished_at"}
    assert value["advice"] == ""
    words = told(ready, "r00007")
    assert words.startswith("r00007: done (simulated)\n")
    assert words.count("  3040  ") == 2
    assert words.count("again within") == 2
    assert "next" not in words
    assert explained(ready, "r00008")["attempts"] == []


def test_a_record_that_failed(ready):
    """A failure is told with its attempts, its row, and the command that sends it again."""
    ready.faults({"fault": "3043", "match": MARKED})
    ready.spec(limits={"batch_size": 1}, retry={"attempts": 2})
    ready.run(code=4)
    value = explained(ready, "r00007")
    assert value["state"] == "failed"
    assert [each["gave_up"] for each in value["attempts"]] == [False, True]
    place = value["stored"]
    assert (place["file"], place["row"]) == ("failures/part-00000.parquet", 0)
    assert place["values"].items() >= {"code": "3043", "http_status": 500, "attempts": 2, "retryable": True}.items()
    assert value["advice"] == "wai run job.yaml --retry-failed"
    words = told(ready, "r00007")
    assert "given up" in words
    ready.faults()
    ready.run("job.yaml", "--retry-failed")
    again = explained(ready, "r00007")
    assert again["state"] == "done"
    assert len(again["attempts"]) == 2
    assert again["attempts"][1]["next_within_seconds"] is None


def test_a_record_of_a_request_of_many(ready):
    """Each record of a request that failed and was split knows of the attempts, though the log names it once."""
    ready.spec(limits={"batch_size": 30}, retry={"attempts": 3})
    ready.faults({"fault": "3043", "match": MARKED})
    ready.run(code=4)
    guilty, other = explained(ready, "r00007"), explained(ready, "r00020")
    assert guilty["state"] == "failed"
    assert other["state"] == "done"
    sizes = [each["records"] for each in guilty["attempts"]]
    assert sizes[:3] == [30, 30, 30]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert [each["records"] for each in other["attempts"]][:3] == [30, 30, 30]
    lines = (ready.folder / "out" / "run" / "events.jsonl").read_text().splitlines()
    assert sum('"r00020"' in line for line in lines) <= 2
    assert "request of 30" in told(ready, "r00020")


def test_pending_records(world):
    """Before the first run, and after the budget was spent, a record is pending, with what to do."""
    world.records(sentences())
    world.spec(model="@cf/baai/bge-large-en-v1.5", budget={"neurons_per_day": 40})
    last = f"r{len(sentences()) - 1:05}"
    value = explained(world, last)
    assert value["state"] == "pending"
    assert value["stored"] is None
    assert value["advice"] == "wai run job.yaml"
    assert not (world.folder / "out").exists()
    world.run(code=3)
    pending = sorted({f"r{n:05}" for n in range(len(sentences()))} - {*world.ids()})
    value = explained(world, pending[0])
    assert value["state"] == "pending"
    assert value["advice"] == "today's budget is spent; after 00:00 UTC: wai run job.yaml"
    assert "pending" in told(world, pending[0])


def test_equal_records(world):
    """Records whose text is another's say whose answer they take, before the run and after it; failures as well."""
    world.records(["alpha", "beta", "alpha", "beta"])
    world.spec(limits={"batch_size": 1}, retry={"attempts": 1})
    before = explained(world, "r00002")
    assert (before["state"], before["shares_with"]) == ("pending", "r00000")
    assert explained(world, "r00000")["shares_with"] is None
    assert "nothing: the answer is shared" in told(world, "r00002")
    world.faults({"fault": "3043", "match": "beta"})
    world.run(code=4)
    done, failed = explained(world, "r00002"), explained(world, "r00003")
    assert (done["state"], done["shares_with"]) == ("done", "r00000")
    assert (failed["state"], failed["shares_with"]) == ("failed", "r00001")
    assert explained(world, "r00000")["shares_with"] is None
    assert "done, shares the answer of r00000" in told(world, "r00002")
    world.records(["alpha", "beta", "alpha", "beta", "alpha"])
    assert explained(world, "r00004")["shares_with"] == "r00000"
    world.spec(dedupe=False)
    assert explained(world, "r00004")["shares_with"] is None


def test_changed_removed_and_unusable_records(ready):
    """A text that changed, a record that is gone from the input and one that cannot be sent are told as such."""
    ready.run()
    texts = [*sentences()[:7], "Quite another text.", *sentences()[7:28], " "]
    ready.records(texts)
    write_jsonl(
        ready.folder / "data.jsonl",
        [{"id": f"r{n:05}", "text": text} for n, text in enumerate(texts) if n != 3] + [{"id": "new", "text": " "}],
    )
    changed, gone, unusable = (explained(ready, each) for each in ("r00007", "r00003", "new"))
    assert changed["state"] == "changed"
    assert changed["input"]["text"] == "Quite another text."
    assert changed["stored"]["file"] == "results/part-00000.parquet"
    assert changed["advice"].startswith("wai run job.yaml --replace-changed")
    assert gone["state"] == "not_in_input"
    assert gone["input"] is None
    assert gone["stored"]["values"]["id"] == "r00003"
    assert unusable["state"] == "pending"
    assert unusable["input"]["unusable"] == "the text is empty"
    for name in ("r00007", "r00003", "new"):
        assert "next" in told(ready, name)


@pytest.mark.slow
def test_while_a_run_goes_on(ready):
    """A row that only the journal has is found, and a record that waits is told who is at work."""
    ready.spec(limits={"batch_size": 1, "concurrency": 1})
    ready.latency(0.8)
    with ready.start("run", "job.yaml", "--json") as running:
        ready.wait_for(lambda: ready.stats()["texts"] >= 3, what="three answers")
        first, last = explained(ready, "r00000"), explained(ready, "r00029")
        words = told(ready, "r00000")
        assert first["state"] == "done"
        assert first["stored"]["file"].startswith("run/journal-")
        assert first["stored"]["row"] is None
        assert first["stored"]["values"]["attempts"] == 1
        assert "moved to results/ when the run ends" in words
        assert last["state"] == "pending"
        assert str(running.pid) in last["advice"]
        ready.faults()
        assert running.ended().code == 0
    assert explained(ready, "r00000")["stored"]["file"] == "results/part-00000.parquet"


def test_an_unknown_record(ready):
    """An id that is nowhere is exit code 2, one line, and the ids that are written alike."""
    ready.run()
    for asked, nearest in (("r0007", "r00007"), ("R00012", "r00012"), ("r00021 ", "r00021"), ("r000210", "r00021")):
        ran = ready.wai("explain", "job.yaml", asked, "--json", code=2, env=OFFLINE)
        assert ran.out == ""
        assert len(ran.err.splitlines()) == 1
        assert nearest in ran.err.partition("; nearest: ")[2].strip().split(", ")
    ran = ready.wai("explain", "job.yaml", "something else", code=2, env=OFFLINE)
    assert "nearest" not in ran.err


def test_a_rehearsal(ready):
    """--rehearse tells of the rehearsal, and without it of the real output, which knows nothing of that."""
    ready.run("job.yaml", "--rehearse", env=OFFLINE)
    rehearsed, real = explained(ready, "r00007", "--rehearse"), explained(ready, "r00007")
    assert rehearsed["state"] == "done"
    assert rehearsed["simulated"] is True
    assert rehearsed["output"] == "out.rehearsal"
    assert real["state"] == "pending"
    assert real["simulated"] is False


def test_records_from_stdin(world):
    """What came through stdin cannot be read again: the row is told, and nobody waits for input."""
    world.spec(input={"path": "-", "format": "jsonl", "id": "id", "text": "text"})
    feed = "".join(json.dumps({"id": f"s{n}", "text": text}) + "\n" for n, text in enumerate(sentences()[:5]))
    world.wai("run", "job.yaml", feed=feed)
    assert explained(world, "s3")["state"] == "done"
    assert "stdin" in world.wai("explain", "job.yaml", "s9", code=2, env=OFFLINE).err


def test_nothing_reaches_the_terminal_raw(world):
    """Control characters of ids, texts and messages are escaped."""
    name = "a\x1b[2Jb\u202e"
    write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": "one\x1b]0;two\x07"}])
    world.spec()
    words = world.wai("explain", "job.yaml", name, env=OFFLINE).out
    assert words.startswith("a\\x1b[2Jb\\u202e: pending")
    assert all(letter.isprintable() for letter in words.replace("\n", ""))
    said = world.wai("explain", "job.yaml", name + "c", code=2, env=OFFLINE).err
    assert all(letter.isprintable() for letter in said.replace("\n", ""))


def test_explain_writes_nothing(ready):
    """Asking changes no file of the output."""
    ready.run()

    def listing():
        files = [path for path in ready.folder.rglob("*") if path.is_file()]
        return sorted((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files)

    before = listing()
    explained(ready, "r00007")
    assert listing() == before
