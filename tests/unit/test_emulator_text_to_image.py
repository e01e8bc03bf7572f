"""Simulated pictures: in the shapes, with the refusals and at the prices of the service."""

import base64

import pytest

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import find_model, models
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks.base import FormFields, Upload
from pipeline.emulator.tasks.text_to_image import run
from tests.support.drawing import picture, size_of

SCHNELL = "@cf/black-forest-labs/flux-1-schnell"
LUCID = "@cf/leonardo/lucid-origin"
PHOENIX = "@cf/leonardo/phoenix-1.0"
DEV = "@cf/black-forest-labs/flux-2-dev"
KLEIN4 = "@cf/black-forest-labs/flux-2-klein-4b"
KLEIN9 = "@cf/black-forest-labs/flux-2-klein-9b"
SDXL = "@cf/stabilityai/stable-diffusion-xl-base-1.0"
DRAWING = [model.name for model in models().values() if model.task == "text-to-image"]


def ran(name, body=None, **fields):
    body = body if body is not None else {"prompt": "an owl", **fields}
    return run(find_model(name), FormFields(body) if "flux-2" in name else body, EmulatorConfig())


def content_of(output):
    return output.content if isinstance(output, Upload) else base64.b64decode(output["image"])


@pytest.mark.parametrize("name", DRAWING)
def test_every_model_draws_the_same_picture_twice_and_another_for_another_prompt(name):
    first = ran(name)
    assert content_of(first.output) == content_of(ran(name).output)
    assert content_of(first.output) != content_of(ran(name, prompt="a lemon").output)
    assert size_of(content_of(first.output)) == ((1120, 1120) if name == LUCID else (1024, 1024))


@pytest.mark.parametrize(
    ("name", "mime"),
    [(SCHNELL, None), (LUCID, None), (PHOENIX, "image/jpeg"), (SDXL, "image/png"), (KLEIN4, None)],
)
def test_the_shape_of_the_answer_is_the_models(name, mime):
    """Base64 under `image`, or the body itself."""
    output = ran(name).output
    assert (output.mime if isinstance(output, Upload) else None) == mime


@pytest.mark.parametrize(
    ("name", "fields", "neurons"),
    [
        (SCHNELL, {}, 172.80),
        (LUCID, {}, 3904.69),
        (PHOENIX, {}, 3120.0),
        (DEV, {}, 7500.0),
        (KLEIN4, {"width": "1920", "height": "1088"}, 207.59),
        (KLEIN9, {}, 1363.64),
        (KLEIN9, {"width": "1920", "height": "1088"}, 1544.04),
        (KLEIN4, {"input_image_0": Upload(picture(512, 512), "image/png", "a.png")}, 4 * 26.05 + 5.37),
        (SDXL, {}, None),
    ],
)
def test_metering(name, fields, neurons):
    """As measured, with fractions of a tile."""
    result = ran(name, **fields)
    assert result.neurons == (None if neurons is None else pytest.approx(neurons, abs=0.005))
    assert result.is_silent is (name == PHOENIX)
    assert result.tiles > 0


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        (SCHNELL, {"prompt": "x", "seed": 1}, "additionalProperties"),
        (SCHNELL, {"prompt": "x", "width": 512}, "additionalProperties"),
        (SCHNELL, {"prompt": "x", "steps": 9}, "/steps"),
        (SCHNELL, {"prompt": "x" * 2049}, "/prompt"),
        (LUCID, {"prompt": "x", "width": 2501}, "/width"),
        (PHOENIX, {"steps": 4}, "prompt"),
        (DEV, {"prompt": "x", "colour": "red"}, "colour"),
        (DEV, {"prompt": "x", "width": "wide"}, "/width"),
        (DEV, {"prompt": "x", "input_image_0": Upload(b"no", "image/png", "a.png")}, "input_image_0"),
    ],
)
def test_what_the_service_refuses(name, body, words):
    with pytest.raises(Refusal, match=words) as caught:
        ran(name, body)
    assert (caught.value.code, caught.value.status) == (5006, 400)


def test_flux_2_refuses_json():
    """In the words of the service."""
    with pytest.raises(Refusal, match="required properties at '/' are 'multipart'"):
        run(find_model(DEV), {"prompt": "an owl"}, EmulatorConfig())
