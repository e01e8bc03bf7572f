"""Fixtures for all tests."""

import inspect
from unittest.mock import Mock

import aiohttp
import pytest


@pytest.fixture
def mocked_http(monkeypatch):
    """Requests of aiohttp answered by the test: for their shape and the mapping of statuses, nothing else.

    aiohttp 3.14 added an argument to `ClientResponse` that aioresponses does not give.
    """
    core = pytest.importorskip("aioresponses.core")
    if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:

        class WithWriter(aiohttp.ClientResponse):
            def __init__(self, *args, stream_writer=None, **kwargs):
                super().__init__(*args, stream_writer=stream_writer or Mock(output_size=0), **kwargs)

        monkeypatch.setattr(core, "ClientResponse", WithWriter)
    with core.aioresponses() as mocked:
        yield mocked
