"""What a task takes and hands back."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Upload:
    """A body, or a field of a form, that is a file.

    Attributes:
        content: All of it.
        mime: Media type as sent, "" where none was.
        filename: As sent; "" for a body.
    """

    content: bytes
    mime: str
    filename: str = ""


class FormFields(dict[str, object]):
    """The fields of a form, which some models take instead of JSON."""


RAW: str = "__raw__"
"""Key of the `Upload` in the input of a request whose body is the file itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One simulated inference.

    Attributes:
        output: The ``result`` of the envelope, the whole body of an OpenAI-compatible answer, or a file that is the
            body itself.
        input_tokens: Tokens read.
        output_tokens: Tokens written, reasoning included.
        neurons: The charge, None for a model without a published price.
        texts: Texts embedded.
        digests: One digest for each text or prompt, to find what is asked twice.
        audio_seconds: Seconds of audio heard or spoken.
        tiles: Tiles of 512 x 512 pixels drawn.
        is_silent: The answer does not name its charge.
    """

    output: Json | list[Json] | Upload
    input_tokens: int
    output_tokens: int
    neurons: float | None
    texts: int
    digests: tuple[bytes, ...]
    audio_seconds: float = 0.0
    tiles: float = 0.0
    is_silent: bool = False


class Task(Protocol):
    """Turns a request body into a simulated inference.

    The body is the JSON object that was sent; the fields of a form, files among them as `Upload`; or one `Upload` under
    `RAW` where the body is a file itself.
    """

    def __call__(self, model: Model, body: Json, config: EmulatorConfig) -> Ran:
        """Run one inference; raises `Refusal` for what the service would refuse."""
        ...


def input_digest(model: Model, content: bytes) -> bytes:
    """Return a short digest of what a model was asked."""
    return blake2b(content, digest_size=8, key=model.name.encode()[:64]).digest()
