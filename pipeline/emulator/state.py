"""Everything one emulator remembers, and the clock it lives by."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import IO

import orjson

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.faults import FaultPlan
from pipeline.emulator.gates import Gates
from pipeline.emulator.gateway import GatewayCache
from pipeline.emulator.meter import Meters
from pipeline.emulator.queue import RequestQueue
from pipeline.emulator.stats import Stats


class Emulator:
    """The state behind the handlers.

    Args:
        config: Options.
        now: Wall time, aware.
        monotonic: Seconds that never go backwards.
    """

    def __init__(self, config: EmulatorConfig, *, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self.config = config
        self._wall = now
        self._offset = timedelta()
        self.monotonic = monotonic
        self.meters = Meters(self.now)
        self.gates = Gates(config, self.meters, monotonic)
        self.stats = Stats(self.now, monotonic)
        self.faults = FaultPlan(config.faults)
        self.cache = GatewayCache(monotonic)
        self.queue = RequestQueue(monotonic)
        self._latency = random.Random(0)  # noqa: S311 - reproducible on purpose
        self._log: IO[bytes] | None = None

    def now(self) -> datetime:
        """Return the wall time, shifted as the control endpoint asked."""
        return self._wall() + self._offset

    def shift_clock(self, seconds: float) -> None:
        """Set how far the emulator's wall clock is ahead of the real one."""
        self._offset = timedelta(seconds=seconds)

    def set_faults(self, plan: Mapping[str, object] | None) -> None:
        """Replace the fault plan; its count of requests begins again."""
        self.faults = FaultPlan(plan)

    def reset(self) -> None:
        """Forget the meter, the statistics, the rate windows, the faults, the cache and the shift of the clock."""
        self.shift_clock(0.0)
        self.meters.clear()
        self.gates.clear()
        self.stats.clear()
        self.cache.clear()
        self.queue.clear()
        self.set_faults(None)

    def next_latency_s(self) -> float:
        """Draw how long the next inference takes."""
        least, most = self.config.latency_ms
        return 0.0 if most == 0.0 else self._latency.uniform(least, most) / 1000.0

    def log(self, entry: dict[str, object]) -> None:
        """Append a line to the request log, if there is one."""
        if self.config.request_log is None:
            return
        if self._log is None:
            self._log = self.config.request_log.open("ab", buffering=0)
        self._log.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Close the request log."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def report(self) -> dict[str, object]:
        """Return meter and statistics as JSON values."""
        by_model = self.meters.today_by_model()
        return {
            "neurons": sum(meter.neurons for meter in by_model.values()),
            "by_model": {
                name: {
                    "neurons": meter.neurons,
                    "input_tokens": meter.input_tokens,
                    "output_tokens": meter.output_tokens,
                    "requests": meter.requests,
                }
                for name, meter in by_model.items()
            },
            "day": self.meters.today().isoformat(),
            "max_concurrent": self.gates.max_running,
            "running": self.gates.running,
            **self.stats.report(),
        }
