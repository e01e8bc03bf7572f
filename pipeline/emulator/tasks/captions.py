"""Image to text: moondream's ``{caption or answer, finish_reason, metrics}`` and llava's ``{description}``.

Shapes: npm @cloudflare/workers-types 5.20261117.1. moondream streams unless told not to, which is not simulated, and
takes addresses of pictures, which are not fetched.
"""

from __future__ import annotations

import base64
from typing import Final

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model, check_input, output_fields
from pipeline.emulator.refusals import bad_input
from pipeline.emulator.tasks.base import Json, Ran, input_digest
from pipeline.emulator.tasks.pictures import size_of
from pipeline.emulator.tasks.prose import Prose
from pipeline.emulator.tasks.vision import picture_of
from pipeline.emulator.tokens import count_tokens, cut_tokens

PICTURE_TOKENS: Final = 729
FRAME_TOKENS: Final = 8
DEFAULT_MAX_TOKENS: Final = 8_192
LENGTHS: Final = {"short": (8, 16), "normal": (20, 60), "long": (80, 140)}


def run(model: Model, body: Json, config: EmulatorConfig) -> Ran:
    """Answer ``POST /ai/run/{model}``."""
    if "metrics" in output_fields(model.name):
        return _moondream(model, body, config)
    content = picture_of(model, body)
    text = _text(model, content, str(body.get("prompt", "")), config.answer_tokens)
    told: Json = {"description": cut_tokens(text, int(str(body.get("max_tokens", 512))))}
    return _ran(model, content, told, 0, 0)


def _moondream(model: Model, body: Json, config: EmulatorConfig) -> Ran:
    check_input(model, body)
    if body.get("stream", True) is not False:
        raise bad_input("const at '/stream' not met: the emulator does not stream")
    task = body.get("task", "query")
    if task not in {"query", "caption"}:
        raise bad_input(f"enum at '/task' not met: {task!r} is not simulated")
    content = _uploaded(body)
    question = str(body.get("question", "What's in this image?")) if task == "query" else ""
    length = config.answer_tokens if question else LENGTHS[str(body.get("caption_length", "normal"))]
    text = _text(model, content, question, length)
    most = int(str(body.get("max_tokens", DEFAULT_MAX_TOKENS)))
    is_cut = count_tokens(text) > most
    text = cut_tokens(text, most)
    tokens_in, tokens_out = PICTURE_TOKENS + FRAME_TOKENS + count_tokens(question), count_tokens(text)
    metrics: Json = {
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "prefill_time_ms": 1.0,
        "decode_time_ms": 1.0,
        "ttft_ms": 1.0,
    }
    told: Json = {"finish_reason": "length" if is_cut else "stop", "metrics": metrics}
    told["answer" if question else "caption"] = text
    return _ran(model, content, told, tokens_in, tokens_out)


def _uploaded(body: Json) -> bytes:
    head, found, text = str(body.get("image", "")).partition(";base64,")
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as exc:
        raise bad_input("'/image' is not base64") from exc
    if not found or not head.startswith("data:image/") or size_of(content) is None:
        raise bad_input("'/image' is not an image as a data URI")
    return content


def _text(model: Model, content: bytes, question: str, length: tuple[int, int]) -> str:
    prose = Prose(model.name, question, salt=input_digest(model, content).hex())
    return prose.text(prose.chance.randint(*length))


def _ran(model: Model, content: bytes, output: Json, tokens_in: int, tokens_out: int) -> Ran:
    return Ran(
        output=output,
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        neurons=model.neurons(tokens_in, tokens_out),
        texts=0,
        digests=(input_digest(model, content),),
    )
