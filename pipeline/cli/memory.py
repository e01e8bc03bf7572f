"""Keeps the process small: one heap, not one per thread. For the program only; a library must not choose this."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Final

_M_ARENA_MAX: Final = -8
"""Option of glibc's mallopt(3)."""


def use_one_heap() -> None:
    """Let Arrow and every thread allocate from the same heap. To be called before pyarrow is imported.

    Arrow's default allocator and glibc both keep memory per thread, and batches move through several threads here.
    Measured on 60,000 vectors of 384 numbers, 64 requests in flight (2026-11-22): peak 327 MB with the defaults, 249 MB
    with the system's allocator in Arrow, 226 MB with one arena as well, at the same speed.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with contextlib.suppress(OSError, AttributeError):  # not glibc: nothing to set
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
