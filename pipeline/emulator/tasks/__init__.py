"""One module for each task the emulator can simulate; a new one is added to `TASKS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.emulator.tasks import embeddings, generation, speech
from pipeline.emulator.tasks.base import Ran, Task

__all__ = ["OPENAI_CHAT", "OPENAI_EMBEDDINGS", "TASKS", "Ran", "Task"]

TASKS: Final[Mapping[str, Task]] = {
    "text-embeddings": embeddings.run,
    "text-generation": generation.run,
    "automatic-speech-recognition": speech.run,
}
"""``POST /ai/run/{model}``: task of the model -> how its input becomes a ``result``."""

OPENAI_CHAT: Final[Task] = generation.run_openai
OPENAI_EMBEDDINGS: Final[Task] = embeddings.run_openai
