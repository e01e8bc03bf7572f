"""The world of the command line, for the tests of this folder."""

from tests.support.figures import figures
from tests.support.worlds import shared_emulator, world, world_with

__all__ = ["figures", "shared_emulator", "world", "world_with"]
