import base64

import jsonschema_rs
import numpy as np
import orjson
import pytest

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import find_model, models, published_schema
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks.embeddings import run, run_openai
from pipeline.emulator.tasks.vectors import Hasher
from pipeline.emulator.wire import dump

CONFIG = EmulatorConfig()
BGE = "@cf/baai/bge-small-en-v1.5"
M3 = "@cf/baai/bge-m3"
QWEN = "@cf/qwen/qwen3-embedding-0.6b"
EMBEDDERS = [m.name for m in models().values() if m.task == "text-embeddings"]


def embed(name, body):
    return run(find_model(name), body, CONFIG)


def refused(name, body):
    with pytest.raises(Refusal) as caught:
        embed(name, body)
    return caught.value


def test_similar_texts_are_nearer_than_others():
    vectors = Hasher(384, "x").embed(
        [
            "The harbour was full of fishing boats.",
            "Fishing boats filled the whole harbour",
            "Quarterly earnings beat what analysts expected.",
            "The analyst expects earnings to beat the quarter",
        ]
    )
    near = vectors @ vectors.T
    assert near[0, 1] > 0.4 > near[0, 2]
    assert near[2, 3] > 0.3 > near[2, 1]


def test_vectors_are_deterministic_units_and_independent_of_their_company():
    texts = ["alpha beta", "", "日本語のテキスト", "a a a a", "?!"]
    together = Hasher(1024, "x").embed(texts)
    alone = np.vstack([Hasher(1024, "x").embed([text]) for text in texts])
    assert together.dtype == np.float32
    assert np.array_equal(together, alone)
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-4)


def test_spaces_are_unrelated():
    mean, cls = Hasher(768, "m#mean").embed(["the same text"]), Hasher(768, "m#cls").embed(["the same text"])
    assert abs(float(mean[0] @ cls[0])) < 0.2


@pytest.mark.parametrize("name", EMBEDDERS)
def test_every_embedding_model_answers_in_its_published_shape(name):
    ran = embed(name, {"text": ["one", "two"]})
    result = orjson.loads(dump(ran.output))
    dimensions = {"@cf/pfnet/plamo-embedding-1b": 2048}.get(name, find_model(name).dimensions)
    assert result["shape"] == [2, dimensions]
    assert [len(vector) for vector in result["data"]] == [dimensions] * 2
    assert "usage" not in result
    assert jsonschema_rs.is_valid(published_schema(name, "output"), result)
    assert ran.texts == 2
    assert len(set(ran.digests)) == 2


def test_a_single_string_is_one_text():
    assert embed(BGE, {"text": "one"}).output["shape"] == [1, 384]


def test_charge_is_the_unrounded_price_of_the_tokens():
    ran = embed(BGE, {"text": ["one two three"]})
    assert ran.input_tokens == 5
    assert ran.neurons == pytest.approx(5 * 1841 / 1e6, abs=0)
    assert embed("@cf/google/embeddinggemma-300m", {"text": "one"}).neurons is None


def test_pooling_is_taken_where_the_schema_has_it():
    assert embed(BGE, {"text": "one", "pooling": "cls"}).output["pooling"] == "cls"
    refusal = refused(M3, {"text": "one", "pooling": "cls"})
    assert (refusal.status, refusal.code) == (400, 5006)


def test_query_mode_scores_the_nearer_context_higher():
    body = {"query": "fishing boats", "contexts": [{"text": "tax law"}, {"text": "a boat for fishing"}]}
    result = embed(M3, body).output
    scores = {item["id"]: item["score"] for item in result["response"]}
    assert scores[1] > scores[0]
    assert jsonschema_rs.is_valid(published_schema(M3, "output"), result)


def test_queries_and_documents_share_a_space():
    document = embed(QWEN, {"documents": ["a boat"]}).output["data"]
    query = embed(QWEN, {"queries": "a boat", "instruction": "find"}).output["data"]
    assert np.array_equal(document, query)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (BGE, {"text": ["x"] * 101}),
        (QWEN, {"text": ["x"] * 33}),
        (BGE, {"text": "word " * 511}),
        (QWEN, {"text": "word " * 8191}),
        (BGE, {"text": []}),
        (BGE, {"text": [1]}),
        (BGE, {"text": "x", "extra": 1}),
        (BGE, {}),
        (QWEN, {}),
        (M3, {"query": "x", "contexts": []}),
    ],
)
def test_what_the_model_cannot_take_is_bad_input(name, body):
    refusal = refused(name, body)
    assert (refusal.status, refusal.code) == (400, 5006)
    assert refusal.message.startswith("AiError: AiError: Bad input: Error: ")


def test_bge_m3_truncates_when_asked():
    refused(M3, {"text": "word " * 60_000})
    long = "word " * 59_998
    cut = embed(M3, {"text": f"{long} tail", "truncate_inputs": True})
    assert cut.input_tokens == 60_000
    assert np.array_equal(cut.output["data"], embed(M3, {"text": long}).output["data"])


def test_openai_form_floats_and_base64_agree():
    model = find_model(BGE)
    floats = orjson.loads(dump(run_openai(model, {"input": ["a", "b"]}, CONFIG).output))
    packed = run_openai(model, {"input": ["a", "b"], "encoding_format": "base64"}, CONFIG).output
    for one, other in zip(floats["data"], packed["data"], strict=True):
        unpacked = np.frombuffer(base64.b64decode(other["embedding"]), dtype="<f4")
        assert np.array_equal(np.asarray(one["embedding"], dtype=np.float32), unpacked)
    assert floats["usage"]["total_tokens"] == 6
