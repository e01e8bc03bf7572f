"""Fixtures for tests through the command line; the conftest of a folder takes them over."""

import pytest

from tests.support.cli import World, settle_down
from tests.support.emulators import ForkedEmulator


@pytest.fixture(scope="session")
def shared_emulator():
    """One emulator for each process of tests, without rate limits."""
    with ForkedEmulator("--no-rate-limit") as emulator:
        yield emulator


@pytest.fixture
def world(tmp_path, shared_emulator):
    """A folder, an environment and an emulator that has seen nothing yet."""
    settle_down(shared_emulator)
    return World(tmp_path, shared_emulator)


@pytest.fixture
def world_with(tmp_path):
    """The same with an emulator of its own, started with the options given."""
    started = []

    def make(*options):
        emulator = ForkedEmulator(*options)
        emulator.start()
        started.append(emulator)
        return World(tmp_path, emulator)

    yield make
    for emulator in started:
        emulator.stop()
