"""`generate` through the command line: what a model gets wrong is mended, and what is sent is what was meant."""

import base64
import json

import pytest

from tests.support.cli import write_jsonl

OLD = "@cf/meta/llama-3.1-8b-instruct-fp8"
GEMMA = "@cf/google/gemma-4-26b-a4b-it"
SCOUT = "@cf/meta/llama-4-scout-17b-16e-instruct"
SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["good", "bad"]},
        "people": {"type": "array", "items": {"$ref": "#/$defs/Person"}},
    },
    "required": ["mood", "people"],
    "additionalProperties": False,
    "$defs": {
        "Person": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
            "required": ["name", "age"],
            "additionalProperties": False,
        }
    },
}
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def job(world, model=OLD, *, params=None, source=None, **groups):
    return world.spec(
        task="generate",
        text=None,
        model=model,
        params={"max_tokens": 300, **(params or {})},
        input={"path": "data.jsonl", "id": "id", **(source or {})},
        **groups,
    )


def prompts(world, n=4):
    lines = [{"id": f"r{i}", "prompt": f"How is person {i}?"} for i in range(n)]
    write_jsonl(world.folder / "data.jsonl", lines)
    return [line["id"] for line in lines]


@pytest.mark.parametrize("model", [OLD, GEMMA])
def test_json_that_breaks_the_schema_is_mended_or_failed_and_the_book_agrees(world, model):
    """One repair each, paid and counted; typed columns for what is mended."""
    ids = prompts(world)
    job(world, model, params={"json_schema": SCHEMA})
    world.faults({"fault": "bad_json", "match": "person 1"}, {"fault": "bad_json", "match": "person 2", "times": 1})
    report = world.run(code=4)
    world.check_once(ids)
    assert (report["records"]["done"], report["records"]["failed"]) == (3, 1)
    assert report["requests"]["sent"] == 6
    assert report["neurons"]["spent"] == pytest.approx(world.metered, rel=0.005)
    rows = {row["id"]: row for row in world.table().to_pylist()}
    assert rows["r2"]["attempts"] == 2
    assert rows["r0"]["mood"] in {"good", "bad"}
    assert rows["r0"]["people"][0].keys() == {"name", "age"}
    (failure,) = world.table("failures").to_pylist()
    assert (failure["id"], failure["code"], failure["attempts"]) == ("r1", "unreadable_answer", 2)
    assert "does not match params.json_schema" in failure["message"]


def test_json_mode_that_gives_up_is_asked_in_words(world):
    """5024 costs a request, not a record."""
    ids = prompts(world)
    job(world, params={"json_schema": SCHEMA})
    world.faults({"fault": 5024, "match": "response_format"})
    report = world.run()
    world.check_once(ids)
    assert report["requests"]["sent"] == 8
    assert all(row["mood"] in {"good", "bad"} for row in world.table().to_pylist())


def test_cut_answers_are_asked_for_again_until_they_end(world):
    """The row is the complete answer; its cost is that of both."""
    prompts(world)
    job(world, params={"max_tokens": 8})
    cut = world.run()
    assert cut["records"]["done"] == 4
    assert {row["finish_reason"] for row in world.table().to_pylist()} == {"length"}
    job(world, params={"max_tokens": 8, "retry_truncated": True}, output={"path": "longer"})
    world.run()
    rows = world.table(output="longer").to_pylist()
    assert {row["finish_reason"] for row in rows} == {"stop"}
    assert all(row["attempts"] > 1 for row in rows)


def test_conversations_and_system_texts_come_from_columns(world):
    """Two languages are two answers; a conversation nobody can send is a failure row with its reason."""
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    lines = [
        {"id": "a", "lang": "English", "talk": [*talk, {"role": "user", "content": "Who?"}]},
        {"id": "b", "lang": "German", "talk": json.dumps([*talk, {"role": "user", "content": "Who?"}])},
        {"id": "c", "lang": "English", "talk": [*talk, {"role": "user", "content": "Who?"}]},
        {"id": "d", "lang": "English", "talk": talk},
    ]
    write_jsonl(world.folder / "data.jsonl", lines)
    params = {"messages_column": "talk", "system": "You answer in {lang}."}
    job(world, params=params, output={"path": "out", "include_input": True})
    report = world.run(code=4)
    assert report["requests"]["sent"] == 2  # a and c are alike
    rows = {row["id"]: row for row in world.table().to_pylist()}
    assert rows["a"]["response"] == rows["c"]["response"] != rows["b"]["response"]
    assert rows["a"]["input"] == "system: You answer in English.\nuser: Hi\nassistant: Yes?\nuser: Who?"
    assert "is by assistant" in world.table("failures").to_pylist()[0]["message"]


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"system": "Speak {tongue}."}, "params.system"),
        ({"prompt": "Ask {who}"}, "params.prompt"),
        ({"messages_column": "mesages"}, "params.messages_column"),
        ({"image_column": "photo"}, "params.image_column"),
    ],
)
def test_a_column_that_no_record_has_is_found_before_anything_is_sent(world, params, key):
    """With the key of the spec that names it, and nothing spent."""
    write_jsonl(world.folder / "data.jsonl", [{"id": "a", "prompt": "x", "lang": "en", "messages": []}])
    job(world, SCOUT, params=params)
    ran = world.wai("run", "job.yaml", code=2)
    assert f"{key}: no record has a column" in ran.said
    assert world.requests == 0


def test_a_model_without_eyes_is_refused(world):
    """Before anything is sent."""
    prompts(world)
    job(world, params={"image_column": "photo"})
    assert "does not take images" in world.wai("run", "job.yaml", code=2).said
    assert world.requests == 0


@pytest.mark.parametrize("model", [GEMMA, SCOUT, "@cf/meta/llama-3.2-11b-vision-instruct"])
def test_image_files_are_looked_at(world, model):
    """A folder of images: one answer each, priced within its bound; equal ones are sent once."""
    photos = world.folder / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes(PIXEL)
    (photos / "b.png").write_bytes(PIXEL)
    (photos / "c.png").write_bytes(PIXEL + b"!")
    (photos / "d.png").write_bytes(b"no image")
    params = {"image_column": "path", "prompt": "What is in this picture?"}
    job(world, model, params=params, source={"path": "photos", "format": "images", "id": None})
    report = world.run(code=4)
    assert report["records"] == {"total": 4, "done": 3, "failed": 1, "pending": 0}
    assert report["requests"]["sent"] == 2
    assert report["neurons"]["spent"] == pytest.approx(world.metered, rel=0.005)
    assert "no PNG" in world.table("failures").to_pylist()[0]["message"]
