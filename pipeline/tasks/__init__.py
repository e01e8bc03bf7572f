"""Task adapters: what is sent for a record, what an answer means, what it can cost. One small module per task.

`ADAPTERS` is the registry: a new task is a module with an adapter and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pipeline.interfaces import TaskAdapter
from pipeline.tasks.base import TaskContext
from pipeline.tasks.embed import Embed
from pipeline.tasks.generate import Generate

ADAPTERS: Final[Mapping[str, Callable[[TaskContext], TaskAdapter]]] = {
    "embed": Embed,
    "generate": Generate,
}

__all__ = ["ADAPTERS", "TaskContext"]
