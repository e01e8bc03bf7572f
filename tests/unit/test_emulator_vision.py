"""Simulated labels, boxes and captions: marked, in the shapes and with the refusals of the service."""

import base64

import pytest

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import find_model
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks import TASKS
from pipeline.emulator.tasks.base import RAW, Upload
from tests.support.drawing import picture

RESNET = "@cf/microsoft/resnet-50"
DETR = "@cf/facebook/detr-resnet-50"
MOON = "@cf/moondream/moondream3.1-9B-A2B"
LLAVA = "@cf/llava-hf/llava-1.5-7b-hf"
RED = picture(64, 48)
URI = "data:image/png;base64," + base64.b64encode(RED).decode()


def ran(name, **body):
    model = find_model(name)
    return TASKS[model.task](model, body, EmulatorConfig())


@pytest.mark.parametrize("name", [RESNET, DETR])
def test_a_picture_may_be_the_body_or_numbers(name):
    """Both are the same picture."""
    as_body = ran(name, **{RAW: Upload(RED, "image/png")})
    assert as_body.output == ran(name, image=list(RED)).output
    assert all(found["label"].startswith("[simulated] ") and 0 <= found["score"] <= 1 for found in as_body.output)
    assert as_body.neurons == (pytest.approx(0.228055) if name == RESNET else None)


def test_boxes_lie_in_the_picture():
    for colour in range(20):
        content = picture(64, 48, colour=(colour, 0, 0))
        for found in ran(DETR, **{RAW: Upload(content, "image/png")}).output:
            box = found["box"]
            assert 0 <= box["xmin"] <= box["xmax"] <= 64
            assert 0 <= box["ymin"] <= box["ymax"] <= 48


def test_moondream_captions_answers_and_counts():
    caption = ran(MOON, task="caption", image=URI, stream=False)
    assert caption.output["caption"].startswith("[simulated]")
    metrics = caption.output["metrics"]
    assert caption.neurons == pytest.approx((metrics["input_tokens"] * 27273 + metrics["output_tokens"] * 90909) / 1e6)
    answer = ran(MOON, task="query", question="What colour?", image=URI, stream=False, max_tokens=6).output
    assert answer["finish_reason"] == "length"
    assert answer["metrics"]["output_tokens"] <= 6
    assert "caption" not in answer


def test_llava_describes():
    result = ran(LLAVA, image=list(RED), prompt="Describe.")
    assert result.output["description"].startswith("[simulated]")
    assert result.neurons is None


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (RESNET, {}),
        (RESNET, {"image": [1, 2, 3]}),
        (RESNET, {"image": [300]}),
        (RESNET, {RAW: Upload(b"no", "image/png")}),
        (RESNET, {"image": list(RED), "top": 3}),
        (MOON, {"task": "caption", "image": URI}),
        (MOON, {"task": "caption", "image": URI, "stream": True}),
        (MOON, {"task": "point", "image": URI, "stream": False}),
        (MOON, {"task": "caption", "image": "https://example.com/a.png", "stream": False}),
        (MOON, {"task": "caption", "image": list(RED), "stream": False}),
        (LLAVA, {"prompt": "x"}),
    ],
)
def test_what_the_service_refuses(name, body):
    with pytest.raises(Refusal) as caught:
        ran(name, **body)
    assert caught.value.code == 5006
