"""The terminal goes away, changes its size or stops reading (promise P8): finish, save, leave; never a traceback."""

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest

from tests.support.cli import ROOT, WAI, sentences

N = 400
BATCH = 5
IN_FLIGHT = 16
IDS = [f"r{n:05}" for n in range(N)]


class Terminal:
    """A command in a session and on a terminal of its own; what it writes there is gathered."""

    def __init__(self, world, *arguments, ignores=None):
        def become_leader():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            if ignores:
                signal.signal(ignores, signal.SIG_IGN)

        self.master, slave = pty.openpty()
        self.resize(24, 100)
        self.child = subprocess.Popen(
            [*WAI, *arguments],
            env={**world.env, "TERM": "xterm"},
            cwd=world.folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=become_leader,  # noqa: PLW1509 - two system calls, nothing that takes a lock
        )
        os.close(slave)
        self.said = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._closing = threading.Event()
        os.set_blocking(self.master, False)
        self._reader.start()

    def _read(self):
        while not self._closing.is_set():
            try:
                self.said += os.read(self.master, 65536)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                return

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hang_up(self):
        """Close the master, as a terminal window or an ssh connection that goes away does."""
        self._closing.set()
        self._reader.join()
        os.close(self.master)
        self.master = -1

    def ended(self, timeout=20):
        return self.child.wait(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        if self.master >= 0:
            self.hang_up()


@pytest.fixture
def slow(world):
    """A job whose every request takes a second, sixteen at a time."""
    world.records(sentences()[:N])
    world.spec(limits={"batch_size": BATCH, "concurrency": IN_FLIGHT, "grace_seconds": 10})
    world.latency(1.0)
    return world


def resume(world):
    """The rest is asked for, what was answered is not."""
    kept = len(world.ids())
    world.faults()
    world.emulator.reset()
    assert world.run()["records"]["done"] == N
    world.check_once(IDS)
    assert world.stats()["texts"] == N - kept


def check_ended_well(world):
    """The manifest says how it ended, the parts hold all that was answered, and no journal is left."""
    (run,) = world.manifest()["runs"]
    assert run["stop_reason"] == "terminated"
    assert run["records"]["done"] == len(world.ids()) == world.stats()["texts"]
    assert not list((world.folder / "out" / "run").glob("journal-*"))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--json",), ("--quiet",)])
def test_the_terminal_goes_away(slow, arguments):
    """Closed in mid-run: what is in flight is finished and saved although nobody can be told; exit 143 within grace."""
    with Terminal(slow, "run", "job.yaml", *arguments) as terminal:
        slow.wait_for(lambda: slow.stats()["running"] >= IN_FLIGHT, what="requests in flight")
        in_flight = slow.stats()["running"]
        began = time.monotonic()
        terminal.hang_up()
        assert terminal.ended() == 143
        assert time.monotonic() - began < 6
    assert b"Traceback" not in terminal.said
    assert len(slow.ids()) >= in_flight * BATCH
    check_ended_well(slow)
    resume(slow)


@pytest.mark.slow
def test_nohup(slow):
    """Started with SIGHUP ignored, as nohup does, a run outlives its terminal and completes."""
    slow.latency(0.3)
    with Terminal(slow, "run", "job.yaml", ignores=signal.SIGHUP) as terminal:
        slow.wait_for(lambda: slow.stats()["running"] >= IN_FLIGHT, what="requests in flight")
        terminal.hang_up()
        assert terminal.ended() == 0
    slow.check_once(IDS)
    assert slow.stats()["texts"] == N


@pytest.mark.slow
def test_the_terminal_goes_away_while_it_waits_for_midnight(world):
    """A run that sleeps until the budget is renewed ends at once, with everything kept."""
    world.records([f"{text} {'word ' * 60}" for text in sentences()[:N]])
    world.spec(
        model="@cf/baai/bge-large-en-v1.5",
        limits={"batch_size": 20},
        budget={"neurons_per_day": 20, "when_spent": "wait"},
    )
    with Terminal(world, "run", "job.yaml") as terminal:
        world.wait_for(lambda: b"goes on by itself at" in terminal.said, what="the waiting")
        world.wait_for(lambda: b"goes on at 00:00 UTC, in " in terminal.said, what="the line that counts down")
        began = time.monotonic()
        terminal.hang_up()
        assert terminal.ended() == 143
        assert time.monotonic() - began < 3
    assert 0 < len(world.ids()) < N
    check_ended_well(world)


@pytest.mark.slow
def test_the_terminal_changes_its_size(slow):
    """Made smaller, larger and tiny in mid-run, the bar goes on and the run completes."""
    slow.latency(0.2)
    with Terminal(slow, "run", "job.yaml") as terminal:
        slow.wait_for(lambda: slow.stats()["running"] >= IN_FLIGHT, what="requests in flight")
        for rows, columns in ((10, 40), (50, 200), (1, 1), (24, 80)):
            terminal.resize(rows, columns)
            asked = slow.requests
            slow.wait_for(
                lambda asked=asked: slow.requests > asked or terminal.child.poll() is not None, what="a request"
            )
        assert terminal.ended() == 0
    assert b"Traceback" not in terminal.said
    slow.check_once(IDS)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_nobody_reads_what_it_says(slow, arguments):
    """stdout and stderr are pipes whose readers are gone from the start: every answer is there, every record once."""
    slow.latency(0.1)
    child = subprocess.Popen(
        [*WAI, "run", "job.yaml", *arguments],
        env=slow.env,
        cwd=slow.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdout.close()
    child.stderr.close()
    assert child.wait(60) == 0
    slow.check_once(IDS)
    (run,) = slow.manifest()["runs"]
    assert run["stop_reason"] == "completed"


@pytest.mark.slow
def test_a_reader_that_stands_still(slow):
    """A paused terminal, a stuck log collector: stderr is a pipe that is full and stays so; the run does not wait."""
    slow.latency(0.1)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    child = subprocess.Popen(
        [*WAI, "run", "job.yaml", "--json"], env=slow.env, cwd=slow.folder, stdout=subprocess.PIPE, stderr=writing
    )
    try:
        child.communicate(timeout=60)
    finally:
        child.kill()
        os.close(reading)
        os.close(writing)
    assert child.returncode == 0
    slow.check_once(IDS)


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["0<&-", "0<&- 1>&- 2>&-"])
def test_streams_that_are_closed_from_the_start(world, closed):
    """As daemons and job schedulers leave them."""
    world.records(sentences()[:10])
    world.spec()
    world.wai("run", "job.yaml", before=("sh", "-c", f'exec "$@" {closed}', "sh"))
    world.check_once(IDS[:10])
    world.spec("stdin.yaml", input={"path": "-", "format": "jsonl", "text": "text"}, output={"path": "other"})
    ran = world.wai("run", "stdin.yaml", before=("sh", "-c", f'exec "$@" {closed}', "sh"), code=2)
    assert "1>" in closed or "nothing in the input" in ran.err


def test_the_places_of_closed_streams_are_taken():
    """No file of a run gets them, and so nothing that is said to stderr gets into a file."""
    code = (
        "import os; os.close(0); os.close(2); from pipeline.cli import main; main(['init', 'embed'], None, None, False)"
    )
    shown = "print(os.path.sameopenfile(0, 2), os.fstat(0).st_rdev == os.stat(os.devnull).st_rdev, os.open('.', 0) > 2)"
    ran = subprocess.run([WAI[0], "-c", f"{code}; {shown}"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.endswith("\nTrue True True\n")


def test_a_signal_when_nobody_reads_what_it_says(slow):
    """SIGTERM with stdout and stderr broken: the message cannot be written, the saving goes on; exit 143."""
    child = subprocess.Popen(
        [*WAI, "run", "job.yaml"], env=slow.env, cwd=slow.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    child.stdout.close()
    child.stderr.close()
    try:
        slow.wait_for(lambda: slow.stats()["running"] >= IN_FLIGHT, what="requests in flight")
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 143
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()
    check_ended_well(slow)
    resume(slow)


@pytest.mark.slow
def test_what_it_says_goes_to_a_full_disk(slow):
    """A log on a full disk stops nothing; a report that cannot be kept is an error with words, the rows are there."""
    slow.faults()
    with Path("/dev/full").open("wb") as full:
        child = subprocess.run(
            [*WAI, "run", "job.yaml"], env=slow.env, cwd=slow.folder, stdout=subprocess.PIPE, stderr=full, check=False
        )
        assert child.returncode == 0
        assert b"done" in child.stdout
        child = subprocess.run(
            [*WAI, "run", "job.yaml", "--json"],
            env=slow.env,
            cwd=slow.folder,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert child.returncode == 14
    assert child.stderr.decode().startswith("stdout: disk full")
    assert b"Traceback" not in child.stderr
    slow.check_once(IDS)
