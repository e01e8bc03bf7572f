"""Image classification and object detection: labels from a digest of the picture, each named as simulated.

The picture is the body itself, or ``{image: [0-255 …]}``. Shapes: npm @cloudflare/workers-types 5.20261117.1; detr:
Cloudflare's page of the model. Five labels, as resnet-50 answers.
"""

from __future__ import annotations

import random
from typing import Final

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model, check_input
from pipeline.emulator.refusals import bad_input
from pipeline.emulator.tasks.base import RAW, Json, Ran, Upload, input_digest
from pipeline.emulator.tasks.pictures import size_of

THINGS: Final = (
    "tabby cat",
    "sailboat",
    "traffic light",
    "mountain bike",
    "lemon",
    "street sign",
    "birdhouse",
    "balloon",
    "castle",
    "teapot",
    "steam locomotive",
    "umbrella",
)
LABELS: Final = 5


def classify(model: Model, body: Json, config: EmulatorConfig) -> Ran:  # noqa: ARG001 - the form of every task
    """Answer ``POST /ai/run/{model}`` of an image classifier."""
    content = picture_of(model, body)
    chance = _chance(model, content)
    left = 1.0
    found: list[Json] = []
    for thing in chance.sample(THINGS, LABELS):
        score = left * chance.uniform(0.5, 0.9)
        left -= score
        found.append({"label": f"[simulated] {thing}", "score": round(score, 6)})
    return _ran(model, content, sorted(found, key=lambda each: -float(str(each["score"]))))


def detect(model: Model, body: Json, config: EmulatorConfig) -> Ran:  # noqa: ARG001 - the form of every task
    """Answer ``POST /ai/run/{model}`` of an object detector."""
    content = picture_of(model, body)
    chance = _chance(model, content)
    width, height = size_of(content) or (1, 1)
    found: list[Json] = []
    for thing in chance.sample(THINGS, chance.randint(0, LABELS)):
        x, y = chance.randrange(width), chance.randrange(height)
        box: Json = {"xmin": x, "ymin": y, "xmax": chance.randint(x, width), "ymax": chance.randint(y, height)}
        found.append({"label": f"[simulated] {thing}", "score": round(chance.uniform(0.5, 1.0), 6), "box": box})
    return _ran(model, content, found)


def picture_of(model: Model, body: Json) -> bytes:
    """Return the picture that was sent, as a body or as numbers.

    Raises:
        Refusal: 400 / 5006 where there is none.
    """
    upload = body.get(RAW)
    if isinstance(upload, Upload):
        content = upload.content
    else:
        check_input(model, body)
        numbers = body.get("image")
        if not isinstance(numbers, list):
            raise bad_input("required properties at '/' are 'image'")
        try:
            content = bytes(numbers)
        except (TypeError, ValueError) as exc:
            raise bad_input("range at '/image' not met: whole numbers from 0 to 255 are wanted") from exc
    if size_of(content) is None:
        raise bad_input("'/image' is not an image")
    return content


def _chance(model: Model, content: bytes) -> random.Random:
    return random.Random(input_digest(model, content))  # noqa: S311 - reproducible on purpose


def _ran(model: Model, content: bytes, found: list[Json]) -> Ran:
    prices = model.facts.get("neurons")
    price = prices.get("per_m_images") if isinstance(prices, dict) else None
    return Ran(
        output=found,
        input_tokens=0,
        output_tokens=0,
        neurons=None if price is None else price / 1e6,
        texts=0,
        digests=(input_digest(model, content),),
    )
