"""Hands requests to workers: what answers have made necessary first, then what the reader brings.

A bounded queue between the reader and the workers; in front of it, unbounded, what belongs to records that have been
begun. Knows when all is over: read to the end, nothing waiting, and nobody at work who could bring more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Final

from pipeline.records import Request

QUEUE_MOST: Final = 16


class _Sign(Enum):
    """What a worker finds in the queue instead of a request."""

    LOOK = auto()
    """There is something in front of the queue."""
    OVER = auto()
    """Nothing will come any more; for all workers, so whoever takes it puts it back."""


class Handout:
    """The requests of one pass on their way to the workers.

    Attributes:
        front: What goes out before anything from the queue.
    """

    def __init__(self) -> None:
        self.front: deque[Request] = deque()
        self._queue: asyncio.Queue[Request | _Sign] = asyncio.Queue(maxsize=QUEUE_MOST)
        self._n_taken = 0
        self._is_read = False

    async def put(self, request: Request) -> None:
        """Take a request from the reader; waits while workers have enough to do."""
        await self._queue.put(request)

    def end(self) -> None:
        """Take note that the reader brings no more."""
        self._is_read = True
        self._wake()

    def first(self, requests: Iterable[Request]) -> None:
        """Take requests that answers have made necessary: before anything new."""
        self.front.extend(requests)
        self._wake()

    def again(self, requests: Sequence[Request]) -> None:
        """Take, from the worker that is at it, what a request has become: before everything else."""
        self.front.extendleft(reversed(requests))

    async def take(self) -> Request | None:
        """Wait for a request; None when all is over. Whoever takes one says when it is `finished`."""
        while True:
            request = self.front.popleft() if self.front else await self._queue.get()
            if isinstance(request, Request):
                self._n_taken += 1
                return request
            if request is _Sign.OVER:
                self._queue.put_nowait(request)
                return None
            self._wake()

    def finished(self) -> None:
        """Take note that a worker is done with its request, and has handed in what it has led to."""
        self._n_taken -= 1
        self._wake()

    def _wake(self) -> None:
        """Tell a worker that waits for the queue what is in front of it, or that all is over; it tells the next."""
        if self._queue.full():
            return  # then nobody waits, and whoever takes a request looks in front first
        if self.front:
            self._queue.put_nowait(_Sign.LOOK)
        elif self._is_read and not self._n_taken and self._queue.empty():
            self._queue.put_nowait(_Sign.OVER)
