"""Requests that are given up at any moment leave nothing open behind them."""

import asyncio
import random
from pathlib import Path

import pytest

from pipeline.client import HttpClient
from pipeline.clock import SystemClock
from pipeline.settings import Secret
from pipeline.wire import HttpRequest

TOLERANCE = 5
AT_ONCE = 50
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"


def n_open():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def stalling(reader, writer):
    """Send nothing, a head, or a part of a body, as the request says; a quick one is answered."""
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            asked = await reader.readexactly(1)
            if asked == b"q":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                continue
            writer.write({b"n": b"", b"h": HEAD, b"b": HEAD + b"x" * 100_000}[asked])
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def give_up(client, url, rng):
    """One request, dropped while it waits for a connection, connects, waits for an answer or reads one."""
    task = asyncio.create_task(client.send(HttpRequest(url=url, body=rng.choice([b"n", b"h", b"b", b"q"]))))
    for _ in range(rng.randrange(40)):
        await asyncio.sleep(0)
    if rng.random() < 0.5:
        await asyncio.sleep(rng.uniform(0.0, 0.02))
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()


@pytest.mark.slow
@pytest.mark.parametrize("n", [1_000, pytest.param(10_000, marks=pytest.mark.torture)])
async def test_requests_that_are_given_up_leave_nothing_open(figures, n):
    """As many files are open after them as before, the client goes on working, and closes what it has."""
    rng = random.Random(28)
    server = await asyncio.start_server(stalling, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    before = n_open()
    n_given_up, most = 0, 0
    async with HttpClient(token=Secret(), concurrency=16, timeout_s=60, clock=SystemClock()) as client:
        for _ in range(n // AT_ONCE):
            n_given_up += sum(await asyncio.gather(*(give_up(client, url, rng) for _ in range(AT_ONCE))))
            most = max(most, n_open())
        assert (await client.send(HttpRequest(url=url, body=b"q"))).body == b"ok"
    for _ in range(200):  # until the server has noticed that nobody is there any more
        if n_open() <= before + TOLERANCE:
            break
        await asyncio.sleep(0.01)
    after = n_open()
    server.close()
    await server.wait_closed()
    figures({"requests": n, "given_up": n_given_up, "open_before": before, "most": most, "after": after})
    assert n_given_up > n // 2
    assert abs(after - before) <= TOLERANCE
