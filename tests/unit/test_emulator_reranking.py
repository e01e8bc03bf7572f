import jsonschema_rs
import pytest

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import find_model, published_schema
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks.reranking import run

MODEL = "@cf/baai/bge-reranker-base"
CONTEXTS = [{"text": "tax law"}, {"text": "a boat for fishing at sea"}, {"text": "fishing"}]


def ran(**body):
    return run(find_model(MODEL), body, EmulatorConfig())


def test_the_context_that_shares_more_words_scores_higher():
    answer = ran(query="fishing boat", contexts=CONTEXTS)
    assert jsonschema_rs.is_valid(published_schema(MODEL, "output"), answer.output)
    assert [item["id"] for item in answer.output["response"]] == [1, 2, 0]
    assert answer.neurons == pytest.approx(answer.input_tokens * 283 / 1e6)
    assert [item["id"] for item in ran(query="fishing boat", contexts=CONTEXTS, top_k=2).output["response"]] == [1, 2]


def test_a_query_is_read_with_every_context():
    one, two = ran(query="a b c", contexts=CONTEXTS[:1]), ran(query="a b c", contexts=CONTEXTS[:1] * 2)
    assert two.input_tokens == 2 * one.input_tokens


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"contexts": CONTEXTS},
        {"query": "x"},
        {"query": "", "contexts": CONTEXTS},
        {"query": "x", "contexts": []},
        {"query": "x", "contexts": ["x"]},
        {"query": "x", "contexts": [{"text": ""}]},
        {"query": "x", "contexts": CONTEXTS, "truncate_inputs": True},
    ],
)
def test_what_the_service_refuses_is_refused(body):
    with pytest.raises(Refusal) as caught:
        ran(**body)
    assert caught.value.code == 5006
