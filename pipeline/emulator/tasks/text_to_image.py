"""Text to image: base64 under ``image``, or the picture as the body.

Which one, and in which format: npm @cloudflare/workers-types 5.20261117.1 and the models' pages, 2026-11-22. flux-2
takes a form and refuses JSON; phoenix answers without ``cf-ai-neurons`` (metered by a public client, 2026-07-22).
Defaults of size and steps are those of the pages, else inferred from metered calls (``formula_check``).
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Final

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model, check_input, output_fields, published_schema
from pipeline.emulator.refusals import Refusal, bad_input
from pipeline.emulator.tasks.base import FormFields, Json, Ran, Upload, input_digest
from pipeline.emulator.tasks.pictures import draw, size_of

TILE: Final = 512 * 512
MEGAPIXEL: Final = 1024 * 1024
FORM_FIELDS: Final = {"prompt", "width", "height", "steps", *(f"input_image_{n}" for n in range(4))}
LONGEST_PROMPT: Final = {"@cf/black-forest-labs/flux-1-schnell": 2048}
SIDES: Final = {
    "@cf/leonardo/lucid-origin": (1, 2500),
    "@cf/leonardo/phoenix-1.0": (1, 2048),
    "@cf/stabilityai/stable-diffusion-xl-base-1.0": (256, 2048),
}
DEFAULT_SIDE: Final = {"@cf/leonardo/lucid-origin": 1120}
STEPS: Final = {
    "@cf/black-forest-labs/flux-1-schnell": (4, 8),
    "@cf/leonardo/lucid-origin": (15, 40),
    "@cf/leonardo/phoenix-1.0": (25, 50),
    "@cf/black-forest-labs/flux-2-dev": (50, 50),
    "@cf/black-forest-labs/flux-2-klein-4b": (4, 4),
    "@cf/black-forest-labs/flux-2-klein-9b": (4, 4),
}
"""By model: steps where none are asked for, and at most."""

USUAL_STEPS: Final = (20, 20)
SILENT: Final = frozenset({"@cf/leonardo/phoenix-1.0"})
AS_PNG: Final = ("flux-2", "stable-diffusion", "dreamshaper")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be drawn."""

    prompt: str
    width: int
    height: int
    steps: int
    inputs: tuple[tuple[int, int], ...]
    salt: str


def run(model: Model, body: Json, config: EmulatorConfig) -> Ran:  # noqa: ARG001 - the form of every task
    """Answer ``POST /ai/run/{model}``."""
    takes_form = "multipart" in str(published_schema(model.name, "input"))
    if takes_form and not isinstance(body, FormFields):
        raise bad_input("required properties at '/' are 'multipart'")
    if takes_form:
        _check_form(body)
    else:
        check_input(model, body)
    asked = _asked(model, body)
    kind = "PNG" if any(name in model.name for name in AS_PNG) else "JPEG"
    content = draw(asked.prompt, width=asked.width, height=asked.height, salt=asked.salt, kind=kind)
    is_body = "image" not in output_fields(model.name)
    told: Json = {"image": base64.b64encode(content).decode()}
    return Ran(
        output=Upload(content, f"image/{kind.lower()}") if is_body else told,
        input_tokens=0,
        output_tokens=0,
        neurons=_neurons(model, asked),
        texts=0,
        digests=(input_digest(model, f"{asked.salt}\0{asked.prompt}".encode("utf-8", "surrogatepass")),),
        tiles=asked.width * asked.height / TILE,
        is_silent=model.name in SILENT,
    )


def _check_form(body: Json) -> None:
    unknown = sorted(set(body) - FORM_FIELDS)
    if unknown:
        raise bad_input(f"additionalProperties at '/' not met: {unknown[0]!r}")
    if not isinstance(body.get("prompt"), str):
        raise bad_input("required properties at '/' are 'prompt'")


def _asked(model: Model, body: Json) -> Asked:
    prompt = str(body["prompt"])
    longest = LONGEST_PROMPT.get(model.name)
    if not prompt or (longest is not None and len(prompt) > longest):
        raise bad_input(f"length at '/prompt' not met: {len(prompt)} characters, 1 to {longest or 'any'}")
    least, most = SIDES.get(model.name, (1, 4096))
    side = DEFAULT_SIDE.get(model.name, 1024)
    width, height = (_whole(body, name, side, least, most) for name in ("width", "height"))
    usual, top = STEPS.get(model.name, USUAL_STEPS)
    field = "num_steps" if "num_steps" in body else "steps"
    inputs: list[tuple[int, int]] = []
    salts = [str(body.get("seed", ""))]
    for n in range(4):
        upload = body.get(f"input_image_{n}")
        if upload is None:
            continue
        size = size_of(upload.content) if isinstance(upload, Upload) else None
        if size is None or not isinstance(upload, Upload):
            raise bad_input(f"'/input_image_{n}' is not an image")
        inputs.append(size)
        salts.append(input_digest(model, upload.content).hex())
    if "image_b64" in body:
        salts.append(input_digest(model, _decoded(body["image_b64"])).hex())
    return Asked(prompt, width, height, _whole(body, field, usual, 1, top), tuple(inputs), "/".join(salts))


def _decoded(text: object) -> bytes:
    try:
        content = base64.b64decode(str(text), validate=True)
    except ValueError as exc:
        raise Refusal(5004) from exc
    if size_of(content) is None:
        raise bad_input("'/image_b64' is not an image")
    return content


def _whole(body: Json, name: str, default: int, least: int, most: int) -> int:
    told = body.get(name, default)
    try:
        value = int(str(told))
    except ValueError as exc:
        raise bad_input(f"type at '/{name}' not met: a whole number is wanted") from exc
    if not least <= value <= most:
        raise bad_input(f"range at '/{name}' not met: {value} is not {least} to {most}")
    return value


def _neurons(model: Model, asked: Asked) -> float | None:
    """Apply the price table; None for a model without a price."""
    prices = model.facts.get("neurons")
    if not isinstance(prices, dict) or not prices:
        return None
    drawn = asked.width * asked.height
    given = sum(width * height for width, height in asked.inputs)
    if "per_tile" in prices:
        return float(drawn / TILE * (prices["per_tile"] + prices["per_step"] * asked.steps))
    if "per_output_tile_step" in prices:
        per_step = prices["per_output_tile_step"] * drawn / TILE + prices["per_input_tile_step"] * given / TILE
        return float(asked.steps * per_step)
    if "per_output_tile" in prices:
        return float(prices["per_output_tile"] * drawn / TILE + prices["per_input_tile"] * given / TILE)
    extra = max(0.0, drawn / MEGAPIXEL - 1.0)
    whole_in = sum(math.ceil(width * height / MEGAPIXEL) for width, height in asked.inputs)
    return float(prices["per_first_mp"] + prices["per_extra_mp"] * extra + prices["per_input_mp"] * whole_in)
