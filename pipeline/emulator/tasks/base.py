"""What a task takes and hands back."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One simulated inference.

    Attributes:
        output: The ``result`` of the envelope, or the whole body of an OpenAI-compatible answer.
        input_tokens: Tokens read.
        output_tokens: Tokens written, reasoning included.
        neurons: The charge, None for a model without a published price.
        texts: Texts embedded.
        digests: One digest for each text or prompt, to find what is asked twice.
    """

    output: Json
    input_tokens: int
    output_tokens: int
    neurons: float | None
    texts: int
    digests: tuple[bytes, ...]


class Task(Protocol):
    """Turns a request body into a simulated inference."""

    def __call__(self, model: Model, body: Json, config: EmulatorConfig) -> Ran:
        """Run one inference; raises `Refusal` for what the service would refuse."""
        ...


def input_digest(model: Model, content: bytes) -> bytes:
    """Return a short digest of what a model was asked."""
    return blake2b(content, digest_size=8, key=model.name.encode()[:64]).digest()
