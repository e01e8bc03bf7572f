"""Task adapters: what is sent for a record, what an answer means, what it can cost. One small module per task.

`TASKS` is the registry: a new task is a module with an adapter and a `TaskKind`, one line here, and one line in
`pipeline.services.JOB_TASKS`, which says whose models it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.tasks import (
    caption,
    classify,
    classify_image,
    detect_objects,
    embed,
    generate,
    image,
    rerank,
    speak,
    summarize,
    to_markdown,
    transcribe,
    translate,
)
from pipeline.tasks.base import TaskContext, TaskKind

TASKS: Final[Mapping[str, TaskKind]] = {
    kind.name: kind
    for kind in (
        embed.KIND,
        generate.KIND,
        translate.KIND,
        transcribe.KIND,
        classify.KIND,
        rerank.KIND,
        summarize.KIND,
        image.KIND,
        classify_image.KIND,
        detect_objects.KIND,
        caption.KIND,
        speak.KIND,
        to_markdown.KIND,
    )
}

__all__ = ["TASKS", "TaskContext", "TaskKind"]
