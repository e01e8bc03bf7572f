"""Ctrl-C and SIGTERM through the command line (promise P8): finish what is in flight, save it, report, leave."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.control import Control
from pipeline.events import StopReason
from pipeline.outputs import SHARE_CHUNK
from pipeline.rows import follower_values
from pipeline.run import run_job
from pipeline.settings import load_settings
from pipeline.spec import parse_spec
from tests.support.cli import INTERRUPT, TERMINATE, WAI, come_to_rest, sentences
from tests.support.figures import figure

N = 800
BATCH = 2
IN_FLIGHT = 64
QUICK = 60
"""Requests that are answered at once: the run dares to have 64 in flight after 52 that were not refused."""


@pytest.fixture
def request_log(tmp_path):
    return tmp_path / "requests.jsonl"


@pytest.fixture
def slow(world_with, request_log):
    """A job whose every request takes a second, sixty-four at a time."""
    world = world_with("--no-rate-limit", "--request-log", str(request_log))
    world.records(sentences()[:N])
    world.spec(
        limits={"batch_size": BATCH, "concurrency": IN_FLIGHT, "grace_seconds": 10},
        retry={"max_delay_seconds": 0.1},
    )
    world.faults({"fault": "latency", "seconds": 1.0, "after": QUICK + 1})
    return world


def arrivals(log):
    """When each request came to the service, in its own time."""
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return [datetime.fromisoformat(entry["at"]) - timedelta(milliseconds=entry["ms"]) for entry in entries]


def started(world, *arguments):
    """Start the job and wait until its requests are in flight."""
    running = world.start("run", "job.yaml", "--json", *arguments)
    world.wait_for(
        lambda: world.stats()["running"] >= IN_FLIGHT or running.child.poll() is not None, what="requests in flight"
    )
    return running


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal", "code", "reason"), [(INTERRUPT, 130, "interrupted"), (TERMINATE, 143, "terminated")]
)
def test_first_signal(slow, request_log, signal, code, reason):
    """The first signal stops sending, lets what is in flight finish, saves and reports it; a later run completes."""
    with started(slow) as running:
        in_flight = slow.stats()["running"]
        signalled, at = time.monotonic(), datetime.now(UTC)
        running.send(signal)
        ran = running.ended()
    ended_s = time.monotonic() - signalled
    assert ran.code == code
    assert ended_s < 5
    report = ran.json
    assert report["stop_reason"] == reason
    assert "stopping" in ran.err
    # The signal finds a full house: what still leaves is what an answer made room for before it was heard.
    late = [arrived for arrived in arrivals(request_log) if arrived > at + timedelta(seconds=0.05)]
    assert len(late) <= 1
    figure("first_signal", in_flight=in_flight, later_than_50_ms=len(late), ended_s=round(ended_s, 3))
    assert in_flight == IN_FLIGHT
    assert report["records"]["done"] >= in_flight * BATCH
    assert report["records"]["done"] == slow.stats()["texts"] == len(slow.ids())
    assert report["records"]["failed"] == 0

    slow.emulator.set_faults([])
    assert slow.run()["records"]["done"] == N
    slow.check_once([f"r{n:05}" for n in range(N)])
    assert slow.stats()["input_digests"]["repeated"] == 0


def second_signal(slow):
    """Interrupt a run twice whose requests take 20 s; check what is kept, return how long its end took, in seconds."""
    slow.faults({"fault": "latency", "seconds": 20, "after": QUICK + 1})
    with started(slow) as running:
        time.sleep(0.3)
        running.send(INTERRUPT)
        time.sleep(0.5)
        assert running.child.poll() is None
        signalled = time.monotonic()
        running.send(INTERRUPT)
        ran = running.ended()
    ended_s = time.monotonic() - signalled
    assert ran.code == 130
    assert "Traceback" not in ran.said
    assert ran.json["records"]["done"] == QUICK * BATCH == len(slow.ids())
    assert ran.json["neurons"]["spent"] > 0
    assert ran.json["advice"].startswith("what was in flight was dropped and counts as spent; resume with: wai run job")
    return ended_s


@pytest.mark.slow
def test_second_signal(slow):
    """The second signal drops what is in flight and ends; what had arrived is kept."""
    assert second_signal(slow) < 5.0  # a request takes 20 s; the rest is writing and reporting


@pytest.mark.torture
def test_second_signal_ends_within_a_second(slow):
    """The same on a machine that has nothing else to do: once in three it takes less than a second."""
    took = []
    for _ in range(3):
        took.append(second_signal(slow))
        shutil.rmtree(slow.folder / "out")
        come_to_rest(slow.emulator, timeout=40)
        slow.emulator.reset()
    figure("second_signal", in_flight=IN_FLIGHT, ended_s=[round(each, 3) for each in took])
    assert min(took) <= 1.0


@pytest.mark.slow
def test_the_grace_period_ends(slow):
    """What is still in flight when the grace period is over is dropped."""
    slow.faults({"fault": "latency", "seconds": 30, "after": QUICK + 1})
    with started(slow, "--set", "limits.grace_seconds=1") as running:
        signalled = time.monotonic()
        running.send(TERMINATE)
        ran = running.ended()
    assert 0.9 < time.monotonic() - signalled < 4
    assert ran.code == 143
    assert ran.json["records"]["pending"] == N - QUICK * BATCH


@pytest.fixture
def on_a_pipe(world):
    """A run that waits for a pipe which says nothing more."""
    world.spec(input={"path": "-", "format": "text"}, text=None, identity=None)
    reading, writing = os.pipe()
    with (
        world.start("run", "job.yaml", "--json", stdin=reading) as running,
        os.fdopen(writing, "wb", buffering=0) as feed,
    ):
        os.close(reading)
        feed.write(b"a line\n" * 100)
        world.wait_for(lambda: handles_signals(running.pid), what="the run to begin")
        time.sleep(0.3)
        yield running, feed
    assert world.requests == 0


def test_signal_while_the_input_is_read(on_a_pipe):
    """A signal while the input is being read ends the run with its own code; nothing is sent."""
    running, feed = on_a_pipe
    running.send(INTERRUPT)
    time.sleep(0.2)
    feed.write(b"another line\n")
    feed.close()
    ran = running.ended(timeout=20)
    assert ran.code == 130
    assert "Traceback" not in ran.said
    assert ran.json["stop_reason"] == "interrupted"


def test_second_signal_while_the_input_is_read(on_a_pipe):
    """A second signal ends a run at once that waits for input which does not come."""
    running, _ = on_a_pipe
    running.send(TERMINATE)
    time.sleep(0.3)
    signalled = time.monotonic()
    running.send(INTERRUPT)
    ran = running.ended(timeout=20)
    assert time.monotonic() - signalled < 1
    assert ran.code == 143
    assert "Traceback" not in ran.said


@pytest.mark.slow
def test_signal_during_a_long_scan(world):
    """A signal while a large file is scanned ends the run within seconds; nothing is sent."""
    with (world.folder / "data.jsonl").open("w") as file:
        file.writelines(f'{{"id": "{n}", "text": "text number {n}"}}\n' for n in range(400_000))
    world.spec()
    with world.start("run", "job.yaml", "--json") as running:
        world.wait_for(lambda: handles_signals(running.pid), what="the run to begin")
        time.sleep(0.1)
        signalled = time.monotonic()
        running.send(INTERRUPT)
        ran = running.ended()
    assert time.monotonic() - signalled < 3
    assert ran.code == 130
    assert "Traceback" not in ran.said
    assert world.requests == 0


def test_signal_while_it_waits_for_midnight(world):
    """A run that sleeps until the budget is renewed wakes for a signal and reports."""
    world.spec(
        model="@cf/baai/bge-large-en-v1.5",
        limits={"batch_size": 20},
        budget={"neurons_per_day": 40, "when_spent": "wait"},
    )
    (world.folder / "data.jsonl").write_bytes(
        b"".join(b'{"id": "%d", "text": "%s"}\n' % (n, b"word " * 60 + b"%d" % n) for n in range(600))
    )
    with world.start("run", "job.yaml", "--json") as running:
        world.wait_for(lambda: world.metered > 37, what="the budget to be spent")
        time.sleep(2.5)
        assert running.child.poll() is None
        running.send(TERMINATE)
        ran = running.ended(timeout=10)
    assert ran.code == 143
    assert "UTC" in ran.err
    assert ran.json["records"]["done"] == len(world.ids()) > 0


def test_output_that_nobody_reads(world):
    """When the reader of stdout is gone the run still saves everything, and there is no traceback."""
    world.records(sentences()[:20])
    world.spec()
    child = subprocess.Popen(
        [*WAI, "run", "job.yaml", "--json"],
        env=world.env,
        cwd=world.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdout.close()
    err = child.stderr.read().decode()
    child.stderr.close()
    child.wait(30)
    assert "Traceback" not in err
    assert len(world.ids()) == 20


def handles_signals(pid):
    """Whether a process has a handler for SIGINT that is not Python's own: its loop catches SIGHUP as well."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught & 1)


def test_handler_check_knows_a_plain_process():
    """A plain interpreter does not count as a run that has begun (the check above means something)."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        time.sleep(0.2)
        assert not handles_signals(child.pid)
    finally:
        child.communicate(b"\n")


async def test_the_sharing_of_equal_answers_ends_too(tmp_path, monkeypatch):
    """A million rows of vectors take minutes to copy; who is not served yet is by the next run, at no cost."""
    n, n_before = 6_000, 2_500
    (tmp_path / "in.txt").write_text("the same\n" * n)
    spec = parse_spec(
        f"task: classify\ninput: {{path: {tmp_path}/in.txt}}\noutput: {{path: {tmp_path}/out}}\n"
        "endpoint: {kind: emulator}\n"
    )
    settings = load_settings({"WAI_STATE_DIR": str(tmp_path / "state")}, tmp_path, need_credentials=False)
    control, loop, killed, n_made = Control(), asyncio.get_running_loop(), threading.Event(), 0

    def kill():
        control.stop(StopReason.INTERRUPTED)
        control.stop(StopReason.INTERRUPTED)
        killed.set()

    def values(*arguments):
        nonlocal n_made
        n_made += 1
        if n_made == n_before:
            loop.call_soon_threadsafe(kill)
            assert killed.wait(20)
        return follower_values(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.outputs.follower_values", values)
        report = await run_job(spec, settings=settings, control=control)
    assert report.stop_reason is StopReason.INTERRUPTED
    assert 0 < report.done < n_before + SHARE_CHUNK
    assert report.pending == n - report.done
    assert n_made < n_before + SHARE_CHUNK
    report = await run_job(spec, settings=settings)
    assert (report.done, report.sent) == (n, 0)
