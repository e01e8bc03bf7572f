"""What a picture costs: its size and steps by model, and Cloudflare's four ways to price them. Pure.

Limits and defaults: the models' pages (developers.cloudflare.com/workers-ai/models/, input schemas, 2026-11-22), else
inferred from what default calls were metered at (`formula_check` of the catalogue), which the table marks. A tile is
512 x 512 pixels, fractions of it count, and a price per step applies to every tile (measured: schnell at 1024 x 1024
and 4 steps is 172.80 neurons).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

TILE: Final = 512 * 512
MEGAPIXEL: Final = 1024 * 1024

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """What a model draws on.

    Attributes:
        side: Width and height in pixels where the job says nothing.
        sides: Least and most pixels of either.
        steps: Where the job says nothing.
        most_steps: As published; None where nothing is.
        guidance: Least and most; None where nothing is published.
        most_prompt: Characters of a prompt; None where nothing is published.
        is_told: Size and steps are always sent where the model takes them, so that the charge is known beforehand.
    """

    side: int = 1024
    sides: tuple[int, int] = (1, 4096)
    steps: int
    most_steps: int | None = None
    guidance: tuple[float, float] | None = None
    most_prompt: int | None = None
    is_told: bool = True


_DIFFUSION: Final = Canvas(sides=(256, 2048), steps=20, most_steps=20, is_told=False)
_UNKNOWN: Final = Canvas(steps=50, is_told=False)

_CANVASES: Final[Mapping[str, Canvas]] = {
    # 1024 x 1024 is inferred: the model takes no size
    "@cf/black-forest-labs/flux-1-schnell": Canvas(steps=4, most_steps=8, most_prompt=2048),
    # 15 steps are inferred
    "@cf/leonardo/lucid-origin": Canvas(side=1120, sides=(1, 2500), steps=15, most_steps=40, guidance=(0, 10)),
    "@cf/leonardo/phoenix-1.0": Canvas(sides=(1, 2048), steps=25, most_steps=50, guidance=(2, 10)),
    # 25 steps as in the model page's example; a call that named none was metered at 50
    "@cf/black-forest-labs/flux-2-dev": Canvas(steps=25, most_steps=50),
    "@cf/black-forest-labs/flux-2-klein-4b": Canvas(steps=4, most_steps=4),
    "@cf/black-forest-labs/flux-2-klein-9b": Canvas(steps=4, most_steps=4),
    "@cf/stabilityai/stable-diffusion-xl-base-1.0": _DIFFUSION,
    "@cf/bytedance/stable-diffusion-xl-lightning": _DIFFUSION,
    "@cf/lykon/dreamshaper-8-lcm": _DIFFUSION,
    "@cf/runwayml/stable-diffusion-v1-5-inpainting": _DIFFUSION,
}


def canvas_of(model: str) -> Canvas:
    """Return what is known of a model."""
    return _CANVASES.get(model, _UNKNOWN)


def charge(prices: Mapping[str, float], size: Size, steps: int, inputs: Sequence[Size] = ()) -> float:
    """Neurons of one picture, at most: exact but for whole megapixels and whole tiles of pictures that go in.

    Args:
        prices: Neurons by unit, as in `pipeline.catalog.ModelInfo`.
        size: Width and height of what is drawn.
        steps: Diffusion steps.
        inputs: Sizes of the pictures that go in.
    """
    tiles = size[0] * size[1] / TILE
    tiles_in = sum(math.ceil(width / 512) * math.ceil(height / 512) for width, height in inputs)
    if "per_output_tile_step" in prices:
        return steps * (prices["per_output_tile_step"] * tiles + prices.get("per_input_tile_step", 0.0) * tiles_in)
    if "per_output_tile" in prices:
        return prices["per_output_tile"] * tiles + prices.get("per_input_tile", 0.0) * tiles_in
    if "per_first_mp" in prices:
        extra = max(0, math.ceil(size[0] * size[1] / MEGAPIXEL) - 1)
        whole_in = sum(math.ceil(width * height / MEGAPIXEL) for width, height in inputs)
        return prices["per_first_mp"] + prices["per_extra_mp"] * extra + prices.get("per_input_mp", 0.0) * whole_in
    return tiles * (prices["per_tile"] + prices.get("per_step", 0.0) * steps)
