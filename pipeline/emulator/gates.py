"""What may turn an inference away before it runs: allocation, requests per minute, capacity.

Source: limits page of 2026-09-17 (per account and task; paid-only models per account and model); the window and its
code 3021 as observed by public clients.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.meter import Meters
from pipeline.emulator.models import Model
from pipeline.emulator.refusals import Refusal

WINDOW_S: Final = 60.0


class RateWindows:
    """Sliding 60 s windows of admitted requests.

    Args:
        monotonic: Seconds that never go backwards.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._windows: dict[tuple[str, str], deque[float]] = {}

    def admit(self, account: str, group: str, rpm: int) -> bool:
        """Take a place in the window of `account` and `group`; False when `rpm` are taken."""
        now = self._monotonic()
        window = self._windows.setdefault((account, group), deque())
        while window and window[0] <= now - WINDOW_S:
            window.popleft()
        if len(window) >= rpm:
            return False
        window.append(now)
        return True

    def clear(self) -> None:
        """Forget all requests."""
        self._windows.clear()


class Gates:
    """Admits inferences one by one.

    Attributes:
        running: Inferences that are running now.
        max_running: The most that ever ran at once.
    """

    def __init__(self, config: EmulatorConfig, meters: Meters, monotonic: Callable[[], float]) -> None:
        self._config = config
        self._meters = meters
        self._windows = RateWindows(monotonic)
        self.running = 0
        self.max_running = 0

    def admit(self, account: str, model: Model) -> None:
        """Let one inference in; `leave` must follow.

        Raises:
            Refusal: 5035, 4006, 3021 or 3040.
        """
        config = self._config
        if model.requires_paid and not config.paid_plan:
            raise Refusal(5035)
        if config.daily_neurons is not None and self._meters.spent(account) >= config.daily_neurons:
            raise Refusal(4006)
        if config.capacity is not None and self.running >= config.capacity:
            raise Refusal(3040)
        rpm = config.rpm if config.rpm is not None else model.rpm
        group = model.name if model.requires_paid else model.task
        if config.rate_limit and rpm is not None and not self._windows.admit(account, group, rpm):
            raise Refusal(3021, retry_after_s=config.retry_after_s)
        self.running += 1
        self.max_running = max(self.max_running, self.running)

    def leave(self) -> None:
        """End what `admit` began."""
        self.running -= 1

    def clear(self) -> None:
        """Forget the windows and the record; what is running stays."""
        self._windows.clear()
        self.max_running = self.running
