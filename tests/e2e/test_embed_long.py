"""Long documents through `wai run` in every mode: rows that belong together stay together (docs/adr/0014)."""

import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.results import read_results
from tests.support.cli import KILL, sentences, write_jsonl

MODEL = "@cf/baai/bge-small-en-v1.5"
WORDS = " ".join(sentences()[:200])


def paragraphs(n, first=0):
    return "\n\n".join(" ".join(sentences()[at : at + 7]) for at in range(first, first + 7 * n, 7))


TEXTS = {
    "short": "One sentence.",
    "prose": paragraphs(12),
    "again": paragraphs(12),
    "digits": "3" * 1_200,
    "japanese": "これは長い文章です。" * 120,
    "spaces": "\n\n  " + paragraphs(3, 100) + "\n\n\n\t" + paragraphs(3, 130) + "\n",
}
CUT = TEXTS.keys() - {"short"}


@pytest.fixture
def long(world):
    """A folder with documents, one of them equal to another."""
    write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": text} for name, text in TEXTS.items()])

    def spec(**groups):
        world.spec(**{"model": MODEL, "output": {"path": "out", "include_input": True}, **groups})
        return world

    return spec


def by_record(table):
    """The rows of each record, which must follow each other."""
    found = {}
    last = None
    for row in table.to_pylist():
        assert row["id"] == last or row["id"] not in found, "rows of a record lie apart"
        last = row["id"]
        found.setdefault(last, []).append(row)
    return found


def metadata_of(world):
    """As any reader of a part finds it."""
    part, *_ = sorted((world.folder / "out" / "results").iterdir())
    return {key.decode(): value.decode() for key, value in pq.read_metadata(part).metadata.items() if key[:1] == b"w"}


def check_chunks(found, texts):
    """Chunks are whole, in order, and slices of the text; nothing but white space lies between them."""
    assert found.keys() == texts.keys()
    for name, rows in found.items():
        text = texts[name]
        assert [(row["chunk"], row["n_chunks"]) for row in rows] == [(n, len(rows)) for n in range(len(rows))]
        assert [text[row["chunk_start"] : row["chunk_end"]] for row in rows] == [row["input"] for row in rows]
        places = [0, *(place for row in rows for place in (row["chunk_start"], row["chunk_end"])), len(text)]
        between = [text[a:b] for a, b in zip(places[::2], places[1::2], strict=True)]
        assert all(a <= b for a, b in pairwise(places))
        assert not "".join(between).strip()


def test_chunks(long):
    """A row a chunk by default: told as records and as rows, shared, verified, explained, and not sent again."""
    world = long()
    report = world.run()
    table = world.table()
    assert report["records"] == {"total": 6, "done": 6, "failed": 0, "pending": 0}
    assert report["rows"] == table.num_rows > 20
    assert report["requests"]["deduplicated"] == 1
    found = by_record(table)
    check_chunks(found, TEXTS)
    assert {name for name, rows in found.items() if len(rows) > 1} == CUT
    assert found["short"][0]["chunk_end"] == len(TEXTS["short"])
    for one, other in zip(found["prose"], found["again"], strict=True):
        assert (one["embedding"], one["chunk_start"]) == (other["embedding"], other["chunk_start"])
        assert (other["neurons"], other["attempts"]) == (0.0, 0)
    by_size = [row["neurons"] / len(row["input"].encode()) for row in found["prose"]]
    assert max(by_size) == pytest.approx(min(by_size))
    assert sum(row["neurons"] for rows in found.values() for row in rows) == pytest.approx(
        report["neurons"]["spent"], rel=1e-6
    )
    status = world.wai("status", "job.yaml", "--verify", "--json").json
    assert (status["records"]["done"], status["rows"], status["problems"]) == (6, table.num_rows, [])
    told = world.wai("explain", "job.yaml", "prose").out
    first = table["id"].to_pylist().index("prose")
    assert f"rows {first} to {first + len(found['prose']) - 1}" in told
    again = world.run()
    assert (again["requests"]["sent"], again["rows"]) == (0, report["rows"])


def test_changed_texts_take_all_their_rows_with_them(long):
    """--replace-changed and a shortened input count records, whatever rows they have."""
    world = long()
    world.run()
    texts = {**TEXTS, "prose": paragraphs(4), "short": paragraphs(5)}
    write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": texts[name]} for name in texts if name != "digits"])
    report = world.run("job.yaml", "--replace-changed")
    assert report["records"] == {"total": 5, "done": 5, "failed": 0, "pending": 0}
    check_chunks(by_record(world.table()), texts)
    assert "rows of 1 record no longer in the input" in world.wai("run", "job.yaml").out
    assert world.wai("status", "out", "--verify", "--json").json["problems"] == []


def test_mean(long):
    """One row of length 1 a record; the chunks of a long one are averaged."""
    world = long(params={"long_text": "mean"})
    report = world.run()
    table = world.table()
    assert report["rows"] == table.num_rows == 6
    n_chunks = dict(zip(table["id"].to_pylist(), table["n_chunks"].to_pylist(), strict=True))
    assert {name for name, n in n_chunks.items() if n > 1} == CUT
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-6)
    assert metadata_of(world)["wai.normalized"] == "true"
    assert dict(zip(table["id"].to_pylist(), table["input"].to_pylist(), strict=True)) == TEXTS


def test_truncate(long):
    """The beginning, as far as it surely fits, and a column that says so."""
    world = long(params={"long_text": "truncate"})
    world.run()
    rows = {row["id"]: row for row in world.table().to_pylist()}
    assert {name for name, row in rows.items() if row["truncated"]} == CUT
    assert all(TEXTS[name].strip().startswith(row["input"].strip()) for name, row in rows.items())
    assert rows["again"]["input"] == rows["prose"]["input"] != TEXTS["prose"]
    assert world.stats()["texts"] == 5


def test_error(long):
    """A failure row says how long the text is and how long it may be; nothing of it is sent."""
    world = long(params={"long_text": "error"})
    report = world.run(code=4)
    assert report["records"] == {"total": 6, "done": 1, "failed": 5, "pending": 0}
    failures = world.table("failures").to_pylist()
    assert {row["id"] for row in failures} == CUT
    assert all(re.search(r"may be [\d,]+ tokens long .* reads 510 of it", row["message"]) for row in failures)
    assert world.stats()["texts"] == 1


def test_a_text_that_is_refused_is_cut_on_the_way(long):
    """What was guessed to fit and does not is sent in halves, and its rows say where they stand."""
    world = long(model_info={"max_input_tokens": 900})
    texts = {"dense": ",,, letters " * 120, "plain": "Plain."}
    write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": text} for name, text in texts.items()])
    report = world.run()
    assert report["records"]["done"] == 2
    found = by_record(world.table())
    check_chunks(found, texts)
    assert (len(found["dense"]), len(found["plain"])) == (2, 1)


@pytest.mark.parametrize(("number", "stored"), [("float16", pa.float16()), ("int8", pa.int8())])
def test_smaller_numbers(long, number, stored):
    """A half and a quarter of the size, near enough, and named in the schema and the metadata."""
    world = long(params={"pooling": "cls"}, output={"path": "exact"})
    world.run()
    exact = np.stack(read_results(world.folder / "exact")["embedding"])
    long(params={"pooling": "cls"}, output={"path": "out", "vectors": number})
    world.run()
    table = world.table()
    assert table.schema.field("embedding").type == pa.list_(stored, 384)
    assert table.schema.metadata[b"wai.pooling"] == b"cls"
    metadata = metadata_of(world)
    told = {name: metadata[f"wai.{name}"] for name in ("model", "pooling", "dimensions", "normalized")}
    assert told == {"model": MODEL, "pooling": "cls", "dimensions": "384", "normalized": "true"}
    frame = read_results(world.folder / "out")
    numbers = np.stack(frame["embedding"]).astype(np.float32)
    if number == "int8":
        steps = frame["embedding_scale"].to_numpy()[:, None]
        assert np.abs(numbers * steps - exact).max() <= steps.max() / 2 * 1.001
    else:
        assert np.abs(numbers - exact).max() <= 2**-11
    long(params={"pooling": "cls"}, output={"path": "out"})
    assert "columns" in world.wai("run", "job.yaml", code=2).err


def test_vectors_of_a_task_that_has_none(world):
    world.records(["x"])
    world.spec(task="classify", output={"path": "out", "vectors": "int8"})
    assert "output.vectors" in world.wai("run", "job.yaml", code=2).err


@pytest.mark.slow
def test_killed_in_the_middle_of_long_documents(world):
    """SIGKILL twice: no document is there in part, and chunks that were answered are not asked for again."""
    texts = {f"d{n:03}": paragraphs(3 + n % 9, first=20 * n) for n in range(60)}
    write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": text} for name, text in texts.items()])
    batch, in_flight = 7, 3
    world.spec(
        model=MODEL,
        output={"path": "out", "include_input": True},
        limits={"batch_size": batch, "concurrency": in_flight},
        checkpoint={"seconds": 0.2, "rows_per_part": 100},
    )
    world.latency(0.1)
    for _ in range(2):
        with world.start("run", "job.yaml", "--json") as running:
            wanted = world.stats()["texts"] + 60
            world.wait_for(lambda wanted=wanted: world.stats()["texts"] >= wanted, what="some answers")
            assert running.child.poll() is None
            running.send(KILL)
            running.ended()
        assert world.wai("status", "job.yaml", "--verify", "--json").json["problems"] == []
    world.emulator.set_faults([])
    report = world.run()
    assert report["records"] == {"total": 60, "done": 60, "failed": 0, "pending": 0}
    check_chunks(by_record(world.table()), texts)
    stats = world.stats()
    assert stats["input_digests"]["repeated"] <= 2 * 2 * batch * in_flight
    assert world.wai("status", "job.yaml", "--verify", "--json").json["problems"] == []
    assert world.run()["requests"]["sent"] == 0
