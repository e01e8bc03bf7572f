"""Lives of `wai run` that end in SIGKILL: a warmed-up process that forks a child for each.

A fresh interpreter takes a second to import everything; a fork takes 10 ms. The server (`python -m
tests.support.crashing`) imports, makes sure that it has one thread only, and then forks on request: one JSON line on
stdin is one life, one JSON line on stdout is how it ended. In the child, and nowhere else, every change of the output
folder, every word with the ledger, every settlement and every hand-over to the sink is a named step at which a
`Killer` may strike.
"""

import contextlib
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 60.0
# Libraries that would start a thread when they are imported: numpy's arithmetic, and the allocator of pyarrow.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}

_ROLES = (
    (re.compile(r"journal-\d+\.wal"), "journal"),
    (re.compile(r"staged-(\w+)-\d+-\d+\.parquet"), "staged"),
    (re.compile(r"(tmp-)?(results|failures)(-\d+)+\.idx"), "sidecar"),
    (re.compile(r"(tmp-)?manifest\.json"), "manifest"),
    (re.compile(r"(tmp-)?holder\.json"), "holder"),
    (re.compile(r"(tmp-)?job\.yaml"), "job.yaml"),
    (re.compile(r"(tmp-)?scan"), "scan"),
    (re.compile(r"tmp-results\.parquet"), "results part"),
    (re.compile(r"tmp-failures\.parquet"), "failures part"),
    (re.compile(r"run|index|results|failures|media"), None),
    (re.compile(r"out"), "root"),
    (re.compile(r".*"), "parent"),
)


def step_of(operation):
    """The name of a change of the output folder, which is called out: what is done, and to what."""
    path = operation.path
    if re.fullmatch(r"part-\d+\.parquet", path.name):
        if operation.name == "rename" and os.path.lexists(path):
            return "rename staged"
        return f"{operation.name} {path.parent.name} part"
    role = next(role or path.name for pattern, role in _ROLES if pattern.fullmatch(path.name))
    is_leftover = operation.name == "unlink" and path.name.startswith(("tmp-", "staged-"))
    return f"{operation.name} {'leftover ' if is_leftover else ''}{role}"


ANY = "any"


class Killer:
    """Counts steps and ends the process by SIGKILL before or after one of them.

    Args:
        step: Where to strike; `ANY` counts all of them together; None for nowhere.
        when: ``before`` or ``after`` it takes effect.
        occurrence: At which of its occurrences, from 1.
    """

    def __init__(self, step=None, when="before", occurrence=1):
        self._fatal = (step, occurrence)
        self._when = when
        self._lock = threading.Lock()
        self.seen = Counter()

    @contextlib.contextmanager
    def at(self, step):
        with self._lock:
            self.seen[step] += 1
            is_fatal = self._fatal in {(step, self.seen[step]), (ANY, self.seen.total())}
        if is_fatal and self._when == "before":
            die()
        yield
        if is_fatal:
            die()


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def wrap(killer, on_sending, tick_s, clock_ahead_s):
    """Name the steps of this process. For a child that ends with its life: nothing is ever put back."""
    import pipeline.keptscan
    import pipeline.run
    from pipeline.budget import BudgetSession, Ledger
    from pipeline.budget.slate import Slate
    from pipeline.client import HttpClient
    from pipeline.clock import SystemClock
    from pipeline.sink import StoreSink
    from pipeline.storage.disk import Disk

    pipeline.keptscan.SETTLED_S = -math.inf  # keep the scan of inputs that have just been written
    if tick_s is not None:
        assert tick_s < pipeline.run._TICK_S
        pipeline.run._TICK_S = tick_s

    ahead = timedelta(seconds=clock_ahead_s)
    SystemClock.now = lambda self: datetime.now(UTC) + ahead  # noqa: ARG005 - a method
    run = Disk.run

    def run_step(self, operation, effect):
        with killer.at(step_of(operation)):
            return run(self, operation, effect)

    Disk.run = run_step
    for name in ("open_lease", "extend", "heartbeat", "close"):
        _name_calls(Ledger, name, f"ledger {name}", killer)
    for name in ("write", "remove"):
        _name_calls(Slate, name, f"slate {name}", killer)
    _name_calls(BudgetSession, "settle", "engine settle", killer)

    put, send = StoreSink.put, HttpClient.send

    async def put_step(self, rows, failures):
        with killer.at("sink put"):
            await put(self, rows, failures)

    async def send_step(self, request):
        on_sending()
        return await send(self, request)

    StoreSink.put, HttpClient.send = put_step, send_step


def _name_calls(owner, name, step, killer):
    method = getattr(owner, name)

    def named(*args, **more):
        with killer.at(step):
            return method(*args, **more)

    setattr(owner, name, named)


@dataclass(frozen=True)
class Order:
    """What one life is to do, and how it is to end.

    Attributes:
        cwd: The working folder.
        env: All of the environment.
        spec: The job.
        overrides: As ``--set``.
        options: Of `pipeline.control.Options`.
        step, when, occurrence: Where the life ends, see `Killer`.
        tick_s: Refresh progress and ledger so often, for lives too short for a heartbeat; None for as usual.
        kill_s: Seconds after which it is killed from outside; None for never.
        from_start: Count these from the fork; otherwise from the moment the first request leaves.
        clock_ahead_s: How far its wall clock is ahead of ours.
    """

    cwd: str
    env: dict
    spec: str
    overrides: tuple = ()
    options: dict = field(default_factory=dict)
    step: str | None = None
    when: str = "before"
    occurrence: int = 1
    tick_s: float | None = None
    kill_s: float | None = None
    from_start: bool = False
    clock_ahead_s: float = 0.0


@dataclass(frozen=True)
class Life:
    """How a life ended.

    Attributes:
        code: Exit code; -9 for SIGKILL.
        was_sending: A request has left.
        seconds: How long it took.
        report: The run's report, None for a life that was cut off.
        steps: How often each step occurred; empty for a life that was cut off.
        refusal: What it said where it refused.
        error: The traceback where it raised what it should not.
    """

    code: int
    was_sending: bool
    seconds: float
    report: dict | None = None
    steps: dict = field(default_factory=dict)
    refusal: str = ""
    error: str = ""

    @property
    def was_killed(self):
        return self.code == -signal.SIGKILL


class Lives:
    """The server, seen from a test."""

    def __init__(self):
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.support.crashing"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **ONE_THREAD},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def live(self, order):
        """Let one life run to its end."""
        self._child.stdin.write(json.dumps(asdict(order)) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        assert line, f"the server of lives has ended with {self._child.wait()}"
        life = Life(**json.loads(line))
        assert not life.error, life.error
        return life

    def close(self):
        self._child.stdin.close()
        self._child.wait(LONGEST_S)
        self._child.stdout.close()


# -- in the server --------------------------------------------------------------------------------------------------


def serve():
    """Fork on request until stdin ends."""
    import aiohttp  # noqa: F401 - imported once for all lives
    import pandas as pd  # noqa: F401 - pyarrow does it when it builds the first array
    import pyarrow.parquet  # noqa: F401

    import pipeline.cli.runner
    import pipeline.emulator.process  # noqa: F401

    for line in sys.stdin:
        assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads cannot be forked safely"
        order = Order(**json.loads(line))
        sys.stdout.write(json.dumps(asdict(one_life(order))) + "\n")
        sys.stdout.flush()


def one_life(order):
    """Fork, watch, kill if so ordered, and wait for the end."""
    began = time.monotonic()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        be_born(order, tell)
    os.close(tell)
    words, is_over, is_overdue, kill_at = b"", False, False, None
    if order.from_start:
        kill_at = began + order.kill_s
    while not is_over:
        now = time.monotonic()
        if words and kill_at is None and order.kill_s is not None:
            kill_at = now + order.kill_s
        until = began + LONGEST_S if kill_at is None else kill_at
        if now >= until:
            is_overdue = kill_at is None
            os.kill(child, signal.SIGKILL)
            break
        if select.select([told], [], [], until - now)[0]:
            chunk = os.read(told, 65_536)
            words += chunk
            is_over = not chunk
    os.close(told)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seconds = time.monotonic() - began
    was_sending = words.startswith(b"s")
    said = json.loads(words.lstrip(b"s")) if words.lstrip(b"s") and code >= 0 else {}
    if is_overdue:
        said = {"error": f"still running after {LONGEST_S} s"}
    return Life(code=code, was_sending=was_sending, seconds=seconds, **said)


def be_born(order, tell):
    """One life, in the child. Does not return."""
    code = 1
    try:
        os.chdir(order.cwd)
        os.environ.clear()
        os.environ.update(order.env)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        said = {}
        try:
            killer = Killer(order.step, order.when, order.occurrence)
            code, said = run(order, killer, tell)
        except SystemExit as error:
            code = error.code
        except BaseException:  # noqa: BLE001 - told to the test, whatever it is
            said = {"error": traceback.format_exc()}
        os.write(tell, json.dumps(said).encode())
    finally:
        os._exit(code)


def run(order, killer, tell):
    from pipeline.cli.runner import run_specs
    from pipeline.control import Options
    from pipeline.errors import PipelineError

    started = []

    def on_sending():
        if not started:
            started.append(True)
            os.write(tell, b"s")

    wrap(killer, on_sending, order.tick_s, order.clock_ahead_s)
    options = Options(**order.options)
    try:
        reports, code = run_specs([Path(order.spec)], order.overrides, options, quiet=True, lines=False)
    except PipelineError as error:
        return error.exit_code, {"refusal": str(error)}
    return code, {"report": reports[0].to_json(), "steps": dict(killer.seen)}


if __name__ == "__main__":
    serve()
