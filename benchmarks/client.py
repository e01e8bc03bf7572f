"""What both sides of a benchmark share: how a client process is started, and how it measures itself.

A side is a module with ``async def work(task) -> dict``, run in a process of its own on the first core. Peak memory is
VmHWM of that process: ru_maxrss would be that of whoever started it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.server import ROOT, cores, pin

ACCOUNT = "0" * 32
TOKEN = "test-token-not-real"
LONGEST_S = 1800


def cpu_s():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_mb():
    try:
        with Path("/proc/self/status").open() as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024 / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main(work):
    """Run `work`, and print what it took: called by the module of a side, in its own process."""
    pin(cores()[0])
    before, begun = cpu_s(), time.monotonic()
    told = work(json.loads(sys.argv[1]))
    ended = time.monotonic()
    print(json.dumps({"begun": begun, "ended": ended, "cpu_s": cpu_s() - before, "peak_mb": peak_mb(), **told}))


@dataclass
class Turn:
    """One turn of one side.

    Attributes:
        rows: Records.
        wall_s: From the first request to the end of the work, start-up apart.
        startup_s: From the beginning of the work (imports done) to the first request.
        process_s: From the start of the process to its end.
        to_first_s: From the start of the process to the first request.
        cpu_s: User and system time of the client's process during the work.
        peak_mb: Its memory at most.
        server: What the server counted.
        server_cpu_s: Its CPU time, of wall_s.
        told: What the side says itself.
    """

    rows: int
    wall_s: float
    startup_s: float
    process_s: float
    to_first_s: float
    cpu_s: float
    peak_mb: float
    server: dict = field(default_factory=dict)
    server_cpu_s: float = 0.0
    told: dict = field(default_factory=dict)

    @property
    def rate(self):
        return self.rows / self.wall_s

    @property
    def cpu_ms(self):
        return self.cpu_s / self.rows * 1e3


def environment(server=None, state=""):
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    kept |= {"PYTHONPATH": str(ROOT), "WAI_STATE_DIR": str(state)}
    kept |= {"CLOUDFLARE_ACCOUNT_ID": ACCOUNT, "CLOUDFLARE_API_TOKEN": TOKEN}
    return kept | ({"CLOUDFLARE_BASE_URL": server.url} if server else {})


def take_turn(side, server, folder, *, rows, **task):
    """Start a side (``bare`` or ``street``) and wait for it."""
    cpu_before = server.stats()["cpu_s"]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{side}", json.dumps({"rows": rows, "url": server.url, **task})],
        env=environment(server, folder / "state"),
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        timeout=LONGEST_S,
        check=True,
    )
    process_s = time.monotonic() - started
    told = json.loads(done.stdout.splitlines()[-1])
    counted = server.stats()
    first = counted["first_at"] or told["ended"]
    return Turn(
        rows=rows,
        wall_s=max(1e-9, told["ended"] - first),
        startup_s=first - told["begun"],
        process_s=process_s,
        to_first_s=first - started,
        cpu_s=told["cpu_s"],
        peak_mb=told["peak_mb"],
        server=counted,
        server_cpu_s=counted["cpu_s"] - cpu_before,
        told=told,
    )
