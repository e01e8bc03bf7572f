"""A local Workers AI: the service's wire on a loopback socket, with simulated answers and faults on demand.

It shares nothing with the rooms it judges but the clock and the data files under `pipeline/data`. Importing this
package is cheap; the HTTP server is loaded when `serve` is called.
"""

from __future__ import annotations

from pipeline.emulator.config import EmulatorConfig, load_faults
from pipeline.emulator.process import EmulatorProcess

__all__ = ["EmulatorConfig", "EmulatorProcess", "load_faults", "serve"]


def serve(config: EmulatorConfig) -> None:
    """Run the emulator until SIGTERM, SIGINT or (with `exit_with_stdin`) the end of stdin."""
    from pipeline.emulator.server import run  # noqa: PLC0415 - keeps aiohttp out of processes that only start a child

    run(config)
