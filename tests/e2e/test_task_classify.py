"""`wai run` on classification jobs: a trained model, and labels of one's own."""

import math

import pytest

from tests.support.cli import sentences

LABELS = ["warning", "definition", "example"]


def test_a_trained_model_scores_both_labels(world):
    world.records(sentences()[:40])
    world.spec(task="classify")
    report = world.run()
    rows = world.table().to_pylist()
    assert len(rows) == 40
    for row in rows:
        assert row["label"] in {"POSITIVE", "NEGATIVE"}
        assert row["score"] == row["scores"][0]["score"] >= row["scores"][1]["score"]
        assert math.isclose(sum(item["score"] for item in row["scores"]), 1.0)
    assert report["neurons"]["spent"] >= world.metered * 0.995


@pytest.mark.parametrize("model", ["@cf/meta/llama-3.1-8b-instruct-fp8", "@cf/google/gemma-4-26b-a4b-it"])
def test_labels_of_ones_own(world, model):
    """Both shapes of answer; nothing but the labels comes back."""
    world.records(sentences()[:20])
    world.spec(task="classify", model=model, params={"labels": LABELS})
    world.run()
    rows = world.table().to_pylist()
    assert len(rows) == 20
    assert {row["label"] for row in rows} <= set(LABELS)
    assert all(row["score"] is None for row in rows)


def test_an_answer_without_a_label_is_asked_for_again(world):
    """A bound of 4 tokens leaves no label: asked again, and as unreadable answers are once more, then a failure row."""
    world.records(sentences()[:3])
    model = "@cf/google/gemma-4-26b-a4b-it"
    world.spec(task="classify", model=model, params={"labels": LABELS, "max_tokens": 4})
    world.run(code=4)
    failures = world.table("failures").to_pylist()
    assert [row["code"] for row in failures] == ["unreadable_answer"] * 3
    assert [row["attempts"] for row in failures] == [2] * 3
    assert world.requests == 9


def test_labels_for_a_model_that_has_its_own_are_refused(world):
    world.records(["x"])
    world.spec(task="classify", params={"labels": LABELS})
    said = world.wai("run", "job.yaml", code=2).err
    assert "params.labels" in said
    assert "text-generation" in said
