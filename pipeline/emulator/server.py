"""Running the application on a loopback socket until told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import Final

import orjson
from aiohttp import web

from pipeline.emulator.app import API, CONTROL, build_app
from pipeline.emulator.config import EmulatorConfig

GRACE_S: Final = 0.2
BACKLOG: Final = 1024
STDIN: Final = 0


def run(config: EmulatorConfig) -> None:
    """Serve; prints one JSON line when the socket listens.

    Returns on SIGTERM or SIGINT, and with `exit_with_stdin` at the end of stdin.
    """
    asyncio.run(_serve(config))


async def _serve(config: EmulatorConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(build_app(config), access_log=None, handle_signals=False, shutdown_timeout=GRACE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, config.host, config.port, backlog=BACKLOG).start()
        _announce(runner)
        if config.exit_with_stdin:
            # a daemon thread with a raw read: nothing to join, and no buffered lock held at interpreter exit
            threading.Thread(target=_wait_for_end_of_stdin, args=(loop, stop), daemon=True).start()
        await stop.wait()
    finally:
        await runner.cleanup()


def _announce(runner: web.AppRunner) -> None:
    host, port = runner.addresses[0][:2]
    base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    line = {"url": base + API, "control": base + CONTROL, "pid": os.getpid()}
    sys.stdout.buffer.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def _wait_for_end_of_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    try:
        while os.read(STDIN, 65_536):
            pass
    except OSError:
        pass
    if not loop.is_closed():
        loop.call_soon_threadsafe(stop.set)
