"""A store for tests: a folder in memory, a job, and a way to open the folder that gives it up at the end."""

import contextlib
import os
import tempfile
from pathlib import Path

import pytest

from pipeline.clock import SystemClock
from pipeline.storage import JobIdentity, Store


@contextlib.contextmanager
def in_memory():
    """A folder in memory where there is one: what is asked there does not depend on how slow a sync is."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(os.path.realpath(name))


def job(**changes):
    """Who asks: a job of embeddings."""
    values = {
        "name": "job",
        "task": "embed",
        "model": "@cf/m",
        "identity": {"params": {"pooling": "cls"}, "text": "{body}"},
        "endpoint_kind": "workers-ai",
        "base_url": "https://x",
        "simulated": False,
        "job_yaml": "task: embed\n",
        "about": {"pooling": "cls"},
    }
    return JobIdentity(**(values | changes))


@pytest.fixture
def memory():
    """As `in_memory`."""
    with in_memory() as folder:
        yield folder


@pytest.fixture
def folder(memory):
    """Where the store of a test lies."""
    return memory / "out"


@pytest.fixture
def opened(folder, request):
    """Opens a store with the module's `COLUMNS`; what is changed is given by name."""
    stores = []

    def open_(path=folder, **changes):
        settings = {"job": job(), "columns": request.module.COLUMNS, "rows_per_part": 10, "clock": SystemClock()}
        stores.append(Store.open(path, **(settings | changes)))
        return stores[-1]

    yield open_
    for store in stores:
        store.abandon()
