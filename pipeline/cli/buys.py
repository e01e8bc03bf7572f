"""What neurons buy, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from pipeline.catalog import ModelInfo, tail


def what_it_buys(model: ModelInfo, neurons: float = 10_000.0) -> str:
    """Say what `neurons` buy, rounded down, e.g. "9.3 M tokens"; for a model without a price, that it has none."""
    price = model.prices
    if not price:
        return "no published price"
    if "per_tile" in price:
        steps = _DEFAULT_STEPS.get(tail(model.name), 4)
        return _images(neurons / (price["per_tile"] + steps * price.get("per_step", 0.0)), f"512x512, {steps} steps")
    if "per_output_tile_step" in price:
        return _images(neurons / (50 * price["per_output_tile_step"]), "512x512, 50 steps")
    for unit, words in _WORDS.items():
        if price.get(unit):
            return words(neurons / price[unit])
    tokens_in, tokens_out = price.get("input_per_m_tokens"), price.get("output_per_m_tokens")
    if tokens_in and tokens_out:
        return f"{_amount(neurons / tokens_in * 1e6)} tokens in or {_amount(neurons / tokens_out * 1e6)} tokens out"
    per_m = tokens_in or tokens_out
    return f"{_amount(neurons / per_m * 1e6)} tokens" if per_m else "free"


# Inferred from metered default calls (see `formula_check` of the entries, 2026-07-22 to 2026-10-02).
# 512x512 is one tile.
_DEFAULT_STEPS: Final = {"flux-1-schnell": 4, "lucid-origin": 15, "phoenix-1.0": 25}


def _images(count: float, how: str = "") -> str:
    return f"{math.floor(count):,} images {how}".rstrip()


_WORDS: Final[Mapping[str, Callable[[float], str]]] = {
    "per_output_tile": lambda n: _images(n, "512x512"),
    "per_first_mp": lambda n: _images(n, "of one megapixel"),
    "per_m_images": lambda n: _images(n * 1e6),
    "per_m_chars": lambda n: f"{_amount(n * 1e6)} characters",
    "per_audio_minute": lambda n: f"{math.floor(n):,} audio minutes",
    "per_audio_minute_websocket": lambda n: f"{math.floor(n):,} audio minutes by WebSocket",
}


def _amount(count: float) -> str:
    """Round down to two significant places of thousands or millions."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if count >= size:
            scaled = count / size
            return f"{math.floor(scaled * 10) / 10:g}{unit}" if scaled < 10 else f"{math.floor(scaled):,}{unit}"
    return f"{math.floor(count):,}"
