"""Task adapters: what is sent for a record, what an answer means, what it can cost. One small module per task.

`TASKS` is the registry: a new task is a module with an adapter and a `TaskKind`, one line here, and one line in
`pipeline.catalog.JOB_TASKS`, which says whose models it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.tasks import embed, generate, transcribe
from pipeline.tasks.base import TaskContext, TaskKind

TASKS: Final[Mapping[str, TaskKind]] = {
    kind.name: kind
    for kind in (
        embed.KIND,
        generate.KIND,
        transcribe.KIND,
    )
}

__all__ = ["TASKS", "TaskContext", "TaskKind"]
