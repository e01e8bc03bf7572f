"""A full disk, a read-only one, folders that may not be written (promises P1, P2, P3): stop in words, lose nothing."""

import json
import shutil
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.cli import come_to_rest, sentences
from tests.support.figures import figure
from tests.support.mounts import (
    bound_by_permissions,
    fill,
    loop_mount,
    make_ext4,
    need_loop,
    need_mounts,
    need_tool,
    remount,
    tmpfs,
)

N = 1_000
BATCH = 10
IDS = [f"r{n:05}" for n in range(N)]


def job(world, output="out", **checkpoint):
    """A thousand texts, 4 KB of vector each: 4 MB in the journal."""
    world.records(sentences()[:N])
    world.spec(output={"path": output}, limits={"batch_size": BATCH, "concurrency": 4}, checkpoint=checkpoint)


def check_stopped(ran, path, words):
    """It ended with the code for the disk and one line that names the path and says what to do.

    Another may say that the scan is not kept, where the input had not changed for two seconds.
    """
    assert ran.code == 14, ran.said
    assert ran.out == ""
    lines = [line for line in ran.err.splitlines() if str(path) in line and "/run/tmp-scan: " not in line]
    assert len(lines) == 1, ran.err
    assert words in lines[0]
    assert "Traceback" not in ran.err


def check_visible_parts_are_whole(output):
    """Whatever is in the folders that people read can be read to its end."""
    parts = [path for kind in ("results", "failures") for path in (output / kind).glob("*")]
    for part in parts:
        assert part.name.startswith("part-")
        assert pq.read_table(part, use_threads=False).num_rows > 0
    return len(parts)


def resume(world, output="out"):
    """Run again to the end: nothing lost, nothing twice, nothing asked for that was durable. Returns what was kept."""
    has_begun = (world.folder / output / "run" / "manifest.json").exists()
    kept = world.wai("status", "job.yaml", "--json").json["records"]["done"] if has_begun else 0
    come_to_rest(world.emulator)
    world.emulator.reset()
    assert world.run()["records"] == {"total": N, "done": N, "failed": 0, "pending": 0}
    world.check_once(IDS, output)
    assert world.stats()["texts"] == N - kept
    assert world.wai("status", "job.yaml", "--verify", "--json").json["problems"] == []
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("rows_per_part", [50_000, 100])
def test_output_on_a_full_disk(world, rows_per_part):
    """The disk fills in mid-run, by the journal or by parts: exit 14; with more room the same command completes."""
    need_mounts()
    job(world, "small/out", rows_per_part=rows_per_part)
    with tmpfs(world.folder / "small", "2m") as small:
        if rows_per_part < N:  # parts take less room than journals
            (small / "other").write_bytes(bytes(1 << 20))
            world.latency(0.1)  # a part is written before the journals fill what is left
        ran = world.wai("run", "job.yaml", "--json", code=None)
        check_stopped(ran, "small/out", "disk full: free some space and run again")
        assert check_visible_parts_are_whole(small / "out") > 0 or rows_per_part > N
        # Asking is possible on a full disk, and a second attempt says the same.
        before = world.wai("status", "job.yaml", "--json").json["records"]["done"]
        assert before > 0
        check_stopped(world.wai("run", "job.yaml", "--json", code=None), "small/out", "disk full")
        assert world.wai("status", "job.yaml", "--json").json["records"]["done"] >= before
        remount(small, "size=64m")
        kept = resume(world, "small/out")
    figure("disk_full", rows_per_part=rows_per_part, kept=kept, records=N)


@pytest.mark.slow
def test_file_size_limit(world):
    """A limit on the size of files (no root needed) is told as such, and nothing is lost by it."""
    need_tool("prlimit", "util-linux")
    job(world)
    ran = world.wai("run", "job.yaml", "--json", code=None, before=("prlimit", f"--fsize={1 << 20}"))
    check_stopped(ran, "out", "file size limit reached: raise it (ulimit -f) and run again")
    check_visible_parts_are_whole(world.folder / "out")
    kept = resume(world)
    assert kept > 0
    figure("file_size_limit", kept=kept, records=N)


@pytest.mark.slow
def test_ledger_on_a_full_disk(world):
    """The ledger's disk is full before a run, and fills in mid-run: exit 14, nothing is sent unbooked, it resumes."""
    need_mounts()
    job(world)
    with tmpfs(world.folder / "state", "512k") as state:
        ballast = fill(state)
        ran = world.wai("run", "job.yaml", "--json", code=None)
        check_stopped(
            ran, state / "ledger.sqlite3", "WAI_STATE_DIR names another folder, but a new ledger knows nothing"
        )
        assert world.requests == 0
        ballast.unlink()
        world.latency(0.2)
        with world.start("run", "job.yaml", "--json") as running:
            world.wait_for(lambda: world.stats()["texts"] >= 100, what="some answers")
            fill(state)
            ran = running.ended()
        check_stopped(ran, state / "ledger.sqlite3", "its disk have room")
        check_visible_parts_are_whole(world.folder / "out")
        metered = world.metered
        ballast.unlink()
        world.faults()
        assert booked(world) >= 0.995 * metered
        kept = resume(world)
        assert kept >= 100 - 2 * 4 * BATCH
        assert booked(world) >= 0.995 * (metered + world.metered)
    figure("ledger_disk_full", kept=kept, records=N)


def booked(world):
    """Neurons in the book, what counts as spent for the dead included."""
    rows = world.wai("budget", "--all", "--json").json["rows"]
    return sum(row["neurons"] + row["assumed"] for row in rows)


def test_read_only_mount(world):
    """An output on a read-only file system: exit 14 with what to do, nothing is sent; writable again it completes."""
    need_mounts()
    job(world, "disk/out")
    with tmpfs(world.folder / "disk", "64m") as disk:
        remount(disk, "ro")
        check_stopped(world.wai("run", "job.yaml", "--json", code=None), "disk/out", "the file system is read-only")
        assert world.requests == 0
        remount(disk, "rw")
        assert world.run()["records"]["done"] == N


@pytest.mark.slow
def test_a_disk_that_turns_read_only(world):
    """The kernel gives up on the file system in mid-run, as after an error: exit 14; mounted anew it resumes."""
    need_loop()
    job(world, "disk/out", rows_per_part=100)
    image, folder = world.folder / "image", world.folder / "disk"
    make_ext4(image, 32)
    with loop_mount(image, folder):
        world.latency(0.05)
        with world.start("run", "job.yaml", "--json") as running:
            world.wait_for(lambda: world.stats()["texts"] >= 300, what="some answers")
            remount(folder, "abort")
            ran = running.ended()
        check_stopped(ran, "disk/out", "mount it writable")
        check_visible_parts_are_whole(folder / "out")
        world.wai("status", "job.yaml", "--verify")
    with loop_mount(image, folder):
        check_visible_parts_are_whole(folder / "out")
        world.faults()
        kept = resume(world, "disk/out")
        assert kept > 0
    figure("turned_read_only", kept=kept, records=N)


@pytest.mark.parametrize("locked", ["out", "out/run", "out/results"])
def test_output_that_may_not_be_written(world, locked):
    """A folder without permission is named before anything is sent; what it holds stays, also for `wai status`."""
    words = bound_by_permissions()
    job(world)
    if locked == "out":
        (world.folder / "out").mkdir()
    else:
        world.run("job.yaml", "--limit", "50")
    before = contents(world.folder / "out")
    asked = world.requests
    folder = world.folder / locked
    folder.chmod(0o500)
    try:
        ran = world.wai("run", "job.yaml", "--json", code=None, before=words)
        if locked != "out":
            world.wai("status", "job.yaml", "--verify", before=words)
    finally:
        folder.chmod(0o700)
    check_stopped(ran, locked, "permission denied: make the folder writable or choose another output.path")
    if locked != "out/results":  # only publishing the first new part needs this one
        assert world.requests == asked
        assert contents(world.folder / "out") == before
    resume(world)


def contents(folder):
    """Every file and its bytes, but for what each start writes anew."""
    ours = {"lock", "holder.json", "events.jsonl"}
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name not in ours}


@pytest.mark.parametrize("is_moved", [True, False])
def test_an_output_that_is_moved_or_removed_in_mid_run(world, is_moved):
    """The run notices before it pays for what would be lost, and nothing new appears at the path."""
    job(world)
    world.latency(0.1)
    output = world.folder / "out"
    with world.start("run", "job.yaml", "--json") as running:
        world.wait_for(lambda: world.stats()["texts"] >= 100, what="some answers")
        if is_moved:
            output.rename(world.folder / "moved")
        else:
            shutil.rmtree(output)
        asked = world.requests
        ran = running.ended()
    check_stopped(ran, "out", "was moved, removed or replaced while this run was writing to it")
    assert not output.exists()
    assert world.requests - asked <= 3 * 4
    world.faults()
    if is_moved:
        (world.folder / "moved").rename(output)
        assert resume(world) >= 100 - 2 * 4 * BATCH
    else:
        assert world.run()["records"]["done"] == N


def test_state_folder_that_may_not_be_written(world):
    """No ledger, no request: the error names the ledger and the setting that puts it elsewhere."""
    words = bound_by_permissions()
    job(world)
    state = world.folder / "state"
    state.mkdir(mode=0o500)
    ran = world.wai("run", "job.yaml", "--json", code=None, before=words)
    check_stopped(ran, state / "ledger.sqlite3", "WAI_STATE_DIR names another folder, but a new ledger knows nothing")
    assert world.requests == 0
    elsewhere = {"WAI_STATE_DIR": str(world.folder / "elsewhere")}
    assert world.run(before=words, env=elsewhere)["records"]["done"] == N


def test_state_folder_that_becomes_read_only(world):
    """A ledger that may no longer be written stops a run before it sends, with what to do."""
    need_mounts()
    job(world)
    with tmpfs(world.folder / "state", "4m") as state:
        world.run("job.yaml", "--limit", "50")
        asked = world.requests
        remount(state, "ro")
        ran = world.wai("run", "job.yaml", "--json", code=None)
        check_stopped(
            ran, state / "ledger.sqlite3", "WAI_STATE_DIR names another folder, but a new ledger knows nothing"
        )
        assert world.requests == asked
        remount(state, "rw")
        resume(world)


@pytest.mark.parametrize("obstacle", ["folder", "full"])
def test_an_event_log_that_cannot_be_written_stops_nothing(world, obstacle):
    """A folder where run/events.jsonl belongs, or a device without room behind it: the run completes."""
    job(world)
    world.run("job.yaml", "--limit", "50")
    log = world.folder / "out" / "run" / "events.jsonl"
    log.unlink()
    if obstacle == "folder":
        log.mkdir()
    else:
        log.symlink_to("/dev/full")
    resume(world)
    assert not log.is_file()


def test_manifest_remembers_the_run_after_the_full_disk(world):
    """After a limit stopped it, the last run in the manifest is the one that completed."""
    need_tool("prlimit", "util-linux")
    job(world)
    world.wai("run", "job.yaml", "--json", code=14, before=("prlimit", f"--fsize={1 << 20}"))
    assert world.wai("status", "job.yaml", "--json").json["stop_reason"] == "killed"
    world.run()
    runs = json.loads(Path(world.folder / "out/run/manifest.json").read_bytes())["runs"]
    assert [run["stop_reason"] for run in runs] == ["completed"]
    assert [part.name for part in (world.folder / "out" / "results").iterdir()] == ["part-00000.parquet"]


# libfiu fails the calls below Python, SQLite's too, but now and then it locks up while Arrow is loaded.
FAILS_WHEN_TOLD = """
import errno, os, signal
def eio(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))
def fail(*_):
    setattr(os, os.environ["FAILING_CALL"], eio)
signal.signal(signal.SIGUSR1, fail)
if "FROM_THE_START" in os.environ:
    fail()
"""


def failing(world, call, **more):
    """An environment in which a sync fails once the process is told by SIGUSR1."""
    helper = world.folder / "helper"
    helper.mkdir()
    (helper / "sitecustomize.py").write_text(FAILS_WHEN_TOLD)
    return {"PYTHONPATH": f"{helper}:{world.env.get('PYTHONPATH', '')}", "FAILING_CALL": call, **more}


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fsync", "fdatasync"])  # of parts and folders; of journals and the ledger
def test_a_sync_that_fails(world, call):
    """Every sync fails from a moment on (EIO): the run stops at once with 14; what it had is not asked for again."""
    job(world, rows_per_part=200)
    world.latency(0.2)
    with world.start("run", "job.yaml", "--json", env=failing(world, call)) as running:
        world.wait_for(lambda: world.stats()["texts"] >= 250 or running.child.poll() is not None, what="some answers")
        assert running.child.poll() is None, running.ended()
        durable = world.wai("status", "job.yaml", "--json").json["records"]["done"]
        asked, began = world.requests, time.monotonic()
        running.send(signal.SIGUSR1)
        ran = running.ended()
    assert ran.code == 14
    assert time.monotonic() - began < 5
    assert "input/output error: check it" in ran.err
    assert len(ran.err.splitlines()) == 1
    # A sync is due twice a second; after its failure nothing more is sent.
    assert world.requests - asked < 4 * 20 * 2
    check_visible_parts_are_whole(world.folder / "out")
    world.faults()
    kept = resume(world)
    assert kept >= durable > 0
    figure("fsync_eio", call=call, kept=kept, known_before=durable, records=N)


def test_a_sync_that_fails_from_the_start(world):
    """A disk that cannot sync at all is told before anything is sent: exit 14."""
    job(world)
    ran = world.wai("run", "job.yaml", "--json", code=None, env=failing(world, "fsync", FROM_THE_START="1"))
    check_stopped(ran, "out", "input/output error: check it before running again")
    assert world.requests == 0
    assert world.run()["records"]["done"] == N
