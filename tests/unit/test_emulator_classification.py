import jsonschema_rs
import pytest

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import find_model, published_schema
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks.classification import run

MODEL = "@cf/huggingface/distilbert-sst-2-int8"


def ran(**body):
    return run(find_model(MODEL), body, EmulatorConfig())


def test_both_labels_come_with_scores_that_sum_to_one():
    answer = ran(text="I love it, it is great")
    assert jsonschema_rs.is_valid(published_schema(MODEL, "output"), answer.output)
    scores = {item["label"]: item["score"] for item in answer.output}
    assert scores["POSITIVE"] > 0.9
    assert sum(scores.values()) == pytest.approx(1.0)
    assert {item["label"]: item["score"] for item in ran(text="ugly, wrong").output}["NEGATIVE"] > 0.9
    assert answer.neurons == pytest.approx(answer.input_tokens * 2394 / 1e6)


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": ["x"]}, {"text": "x", "top_k": 1}])
def test_what_the_service_refuses_is_refused(body):
    with pytest.raises(Refusal) as caught:
        ran(**body)
    assert caught.value.code == 5006
