"""One module for each task the emulator can simulate; a new one is added to `TASKS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.emulator.tasks import (
    captions,
    classification,
    conversion,
    embeddings,
    generation,
    recognition,
    reranking,
    speech,
    text_to_image,
    translation,
    vision,
)
from pipeline.emulator.tasks.base import Ran, Task

__all__ = ["CONVERTER", "CONVERTING", "OPENAI_CHAT", "OPENAI_EMBEDDINGS", "TASKS", "Ran", "Task"]

TASKS: Final[Mapping[str, Task]] = {
    "image-classification": vision.classify,
    "image-to-text": captions.run,
    "object-detection": vision.detect,
    "reranking": reranking.run,
    "text-classification": classification.run,
    "text-embeddings": embeddings.run,
    "text-generation": generation.run,
    "automatic-speech-recognition": recognition.run,
    "text-to-image": text_to_image.run,
    "text-to-speech": speech.run,
    "translation": translation.run,
}
"""``POST /ai/run/{model}``: task of the model -> how its input becomes a ``result``."""

CONVERTER: Final = conversion.CONVERTER
"""Stands in for a model behind ``POST /ai/tomarkdown``."""

CONVERTING: Final[Task] = conversion.run
OPENAI_CHAT: Final[Task] = generation.run_openai
OPENAI_EMBEDDINGS: Final[Task] = embeddings.run_openai
