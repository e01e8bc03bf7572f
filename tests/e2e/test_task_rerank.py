"""`wai run` on a ranking job: lists in, ordered lists out, from JSON lines and from CSV."""

import csv
import json

import pytest

from tests.support.cli import sentences, write_jsonl

QUERY = "How does the print function write text?"
RECORDS = [{"id": f"q{n}", "query": QUERY, "contexts": list(sentences()[n * 7 : n * 7 + 7])} for n in range(12)]


def check(world, top_k=7):
    rows = world.table().to_pylist()
    assert len(rows) == len(RECORDS)
    for row in rows:
        contexts = next(item["contexts"] for item in RECORDS if item["id"] == row["id"])
        ranking = row["ranking"]
        assert len({item["index"] for item in ranking}) == len(ranking) == top_k
        assert [item["score"] for item in ranking] == sorted((item["score"] for item in ranking), reverse=True)
        assert all(contexts[item["index"]] == item["text"] for item in ranking)


@pytest.mark.parametrize("model", ["@cf/baai/bge-reranker-base", "@cf/baai/bge-m3"])
def test_contexts_come_back_in_order(world, model):
    write_jsonl(world.folder / "data.jsonl", RECORDS)
    world.spec(task="rerank", model=model, text=None)
    report = world.run()
    check(world)
    assert report["neurons"]["spent"] >= world.metered * 0.995


def test_a_cell_of_a_table_holds_the_list_as_json(world):
    """One query for all stands in the spec."""
    with (world.folder / "data.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "passages"])
        writer.writerows([item["id"], json.dumps(item["contexts"])] for item in RECORDS)
    params = {"query": QUERY, "contexts_column": "passages", "top_k": 3}
    world.spec(task="rerank", params=params, text=None, input={"path": "data.csv", "id": "id"})
    world.run()
    check(world, top_k=3)


def test_a_record_without_contexts_is_a_failure_and_costs_nothing(world):
    """The others have their rows."""
    write_jsonl(world.folder / "data.jsonl", [*RECORDS, {"id": "bad", "query": "x", "contexts": []}])
    world.spec(task="rerank", text=None)
    world.run(code=4)
    (failure,) = world.table("failures").to_pylist()
    assert (failure["id"], failure["code"]) == ("bad", "unusable_record")
    check(world)
