"""The emulator as a child process, for tests and rehearsals.

Import-light on purpose: nothing here needs an HTTP library, and the child ends with its parent even when the parent is
killed, because its stdin closes.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

_START_S: Final = 30.0
_STOP_S: Final = 5.0
_CALL_S: Final = 30.0
_SECRETS: Final = frozenset({"CLOUDFLARE_API_TOKEN", "CLOUDFLARE_AIG_TOKEN"})


class EmulatorProcess:
    """Starts ``python -m pipeline.emulator`` on a free loopback port and stops it again.

    Blocking; from a coroutine use it through `asyncio.to_thread`.

    Args:
        *options: Command line options, e.g. ``"--daily-neurons", "500"``.
        hidden: Variables of the environment that it must not inherit, beside Cloudflare's tokens.

    Attributes:
        url: Base URL for clients, ``http://127.0.0.1:PORT/client/v4``.
        control: Base URL of the control endpoints.
        pid: Process id of the child.
    """

    def __init__(self, *options: str, hidden: Collection[str] = ()) -> None:
        self._options: Sequence[str] = options
        self._hidden = _SECRETS | set(hidden)
        self._child: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.control = ""
        self.pid = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the child and wait until it listens.

        Raises:
            RuntimeError: It did not come up; its own words are on stderr.
        """
        command = [sys.executable, "-m", "pipeline.emulator", "--port", "0", "--exit-with-stdin", *self._options]
        # In a session of its own: Ctrl-C on the terminal is for the run, which still waits for answers then.
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name not in self._hidden},  # it takes any token
        )
        line = self._first_line(self._child)
        if not line:
            self.stop()
            raise RuntimeError("the emulator did not start")
        told = json.loads(line)
        self.url, self.control, self.pid = told["url"], told["control"], told["pid"]

    def stop(self) -> None:
        """End the child. Does nothing when it has ended."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()

    def stats(self) -> dict[str, object]:
        """Return what the emulator has counted (``GET /__emulator/stats``)."""
        return self._call("GET", "/stats")

    def set_faults(self, rules: Sequence[Mapping[str, object]], *, seed: int = 0) -> None:
        """Replace the fault plan; an empty list ends all faults."""
        self._call("PUT", "/faults", {"seed": seed, "rules": [dict(rule) for rule in rules]})

    def set_clock(self, offset_seconds: float) -> None:
        """Shift the wall clock that decides the meter's UTC day."""
        self._call("PUT", "/clock", {"offset_seconds": offset_seconds})

    def reset(self) -> None:
        """Forget the meter, the statistics, the rate windows and the faults."""
        self._call("POST", "/reset")

    def _call(self, method: str, path: str, body: object = None) -> dict[str, object]:
        target = urlsplit(self.control)
        connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=_CALL_S)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, target.path + path, body=payload, headers={"content-type": "application/json"})
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(f"{method} {path}: HTTP {response.status}: {raw[:500].decode(errors='replace')}")
        answer: dict[str, object] = json.loads(raw)
        return answer

    @staticmethod
    def _first_line(child: subprocess.Popen[bytes]) -> bytes:
        assert child.stdout is not None
        descriptor = child.stdout.fileno()
        deadline = time.monotonic() + _START_S
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(descriptor, 4096) if ready else b""
            if not chunk:
                return b""
            line += chunk
        return line
