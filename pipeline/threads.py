"""Runs blocking work in a thread in a way that cancelling cannot tear apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def in_thread(
    work: Callable[[], _T],
    then: Callable[[_T], None] | None = None,
    undo: Callable[[], None] | None = None,
    *,
    hurry: Callable[[], None] | None = None,
) -> _T:
    """Run `work` in a thread and `then` on what it returned, or `undo` where it raised.

    A thread cannot be called back: cancelled, however often, this waits for it, so that nobody closes a file it still
    uses and memory never knows less than the disk does, and only then raises `CancelledError`. `hurry` is called
    meanwhile: it may make `work` end sooner.
    """
    future = start(work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
            if hurry is not None:
                hurry()
    if (failed := future.exception()) is not None:
        if undo is not None:
            undo()
        raise cancelled or failed
    if then is not None:
        then(future.result())
    if cancelled is not None:
        raise cancelled
    return future.result()


def start(work: Callable[[], _T]) -> asyncio.Future[_T]:
    """Start `work` in a thread of the running loop."""
    return asyncio.get_running_loop().run_in_executor(None, work)
