"""The world of the command line, for the tests of this folder."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.support.crashing import Lives
from tests.support.emulators import ForkedEmulator
from tests.support.figures import figures
from tests.support.worlds import shared_emulator, world, world_with

__all__ = ["figures", "shared_emulator", "world", "world_with"]


@pytest.fixture(scope="session")
def memory():
    """A folder in memory where there is one: what SIGKILL leaves does not depend on how slow a sync is."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=place if os.access(place, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def request_log(memory):
    """Where `logged_emulator` writes what it is asked."""
    return memory / "requests.jsonl"


@pytest.fixture(scope="session")
def logged_emulator(request_log):
    """An emulator that says which inputs it was paid for."""
    with ForkedEmulator("--no-rate-limit", "--request-log", str(request_log)) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def lives():
    """The server of lives."""
    server = Lives()
    yield server
    server.close()
