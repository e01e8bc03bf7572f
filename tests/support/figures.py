"""Figures that tests measure and documents quote: one JSON line a test into the file that WAI_FIGURES names."""

import json
import os
from pathlib import Path

import pytest


def figure(test, **measured):
    """Append what a test measured to the file that WAI_FIGURES names, if it does."""
    if path := os.environ.get("WAI_FIGURES"):
        # one write of a short line to the end of a file: tests in several processes do not mix theirs
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"test": test, **measured}) + "\n")


@pytest.fixture
def figures(request, record_property):
    """Note figures of this test: as properties of the report, and in the file where one is named."""

    def note(values):
        for name, value in values.items():
            record_property(name, value)
        figure(request.node.nodeid, **values)

    return note
