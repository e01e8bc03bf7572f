"""The libraries of the extra `audio`, and what to say where they are missing."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from pipeline.errors import PlanError

_LIBRARIES: Final = ("av", "webrtcvad")


def need_extra() -> None:
    """Nothing where recordings can be decoded.

    Raises:
        PlanError: A library is missing; says how to get it.
    """
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise PlanError(
            f'recordings cannot be decoded without {" and ".join(missing)}: pip install "workers-ai-batch[audio]"',
            key="task",
        )
