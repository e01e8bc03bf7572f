"""Keeps the places of stdin, stdout and stderr taken, also where a daemon or a job scheduler has closed them."""

from __future__ import annotations

import os


def hold_descriptors() -> None:
    """Open the null device in the place of each that is closed.

    A file opened later would get its number, and what a library says to stderr would be written into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
