"""`image`."""

import base64
import math

from hypothesis import strategies as st

from pipeline.records import Form
from tests.contract.cases.base import TaskCase
from tests.support.drawing import picture

STEPPED = ("flux-1-schnell", "flux-2-dev", "lucid-origin")


def takes(model, params):
    """Steps under the name `steps`; sizes everywhere but on schnell."""
    if "steps" in params:
        return model.name.endswith(STEPPED)
    return not params or not model.name.endswith("schnell")


def answers(request, payload, model):
    content = picture(32, 32)
    return [{"image": base64.b64encode(content).decode()}, {"image": base64.b64encode(picture(kind="JPEG")).decode()}]


def charge(model, params, request, payload):
    """By the published formulas, on what is really sent."""
    if isinstance(payload, Form):
        payload = {part.name: part.content.decode() for part in payload.parts if part.filename is None}
    width, height = float(payload.get("width", 1024)), float(payload.get("height", 1024))
    tiles, prices = width * height / 512**2, model.prices
    steps = float(payload.get("steps", payload.get("num_steps", 20)))
    if "per_tile" in prices:
        return tiles * (prices["per_tile"] + steps * prices["per_step"])
    if "per_output_tile_step" in prices:
        return steps * tiles * prices["per_output_tile_step"]
    if "per_output_tile" in prices:
        return tiles * prices["per_output_tile"]
    return prices["per_first_mp"] + prices["per_extra_mp"] * max(0, math.ceil(width * height / 1024**2) - 1)


CASE = TaskCase(
    task="image",
    columns=[("path", "string"), ("width", "int32"), ("height", "int32"), ("mime", "string")],
    params=[{}, {"steps": 2}, {"width": 640, "height": 512}],
    records=lambda _folder: st.builds(
        lambda text: {"prompt": text},
        st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60).filter(str.strip),
    ),
    answers=answers,
    charge=charge,
    text="prompt",
    takes=takes,
)
