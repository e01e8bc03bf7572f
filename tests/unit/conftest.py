"""The store of `tests.support.stores`, for the tests of this folder."""

from tests.support.stores import folder, memory, opened

__all__ = ["folder", "memory", "opened"]
