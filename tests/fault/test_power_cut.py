"""Power cuts (promises P1, P2, P3): what was answered a second before is on the disk, whatever the cache still held.

The output and the ledger lie on an ext4 in an image. The run is frozen at a random moment and the image is copied as it
is, without a sync: what the kernel had only in memory is not in it. The copy takes the place of the disk.
"""

import filecmp
import random
import shutil
import signal
import time

import pytest

from tests.support.cli import sentences
from tests.support.figures import figure
from tests.support.mounts import loop_mount, make_ext4, need_loop

PER_LIFE = 600
MARGIN_S = 0.5  # an answer's way through the loop of the run on a busy machine


@pytest.fixture
def disk(world):
    """The image and where it is mounted; a job of 200 texts a second that writes there, parts and journals."""
    need_loop()
    image = world.folder / "image"
    make_ext4(image, 64)
    world.latency(0.1)
    return image, world.folder / "disk"


def job(world, n):
    texts = sentences()
    world.records([f"{texts[i % len(texts)]} {i}" for i in range(n)])
    world.spec(
        model="@cf/baai/bge-small-en-v1.5",
        output={"path": "disk/out"},
        limits={"batch_size": 5, "concurrency": 4},
        checkpoint={"rows_per_part": 250},
        budget={"neurons_per_day": 100_000},
    )


def delivered(world):
    return world.stats()["input_digests"]["distinct"]


def cut(world, disk, rng, *, env):
    """Run for a moment, cut the power. Returns texts answered over a second before, and neurons metered."""
    image, mounted = disk
    with loop_mount(image, mounted, "noauto_da_alloc"), world.start("run", "job.yaml", "--json", env=env) as running:
        begun = delivered(world)
        wanted = begun + rng.randint(50, 300)
        world.wait_for(lambda: delivered(world) >= wanted or running.child.poll() is not None, what="answers")
        answered = delivered(world)
        time.sleep(1.0 + MARGIN_S)
        assert running.child.poll() is None, "the job ended before the cut"
        running.send(signal.SIGSTOP)
        copy_as_it_is(image)
        running.send(signal.SIGKILL)
        running.ended()
        metered = world.metered
    image.with_suffix(".cut").replace(image)
    return answered, metered


def copy_as_it_is(image):
    """Copy what has reached the disk, at one moment: until two copies agree, the kernel was still writing."""
    now, before = image.with_suffix(".cut"), image.with_suffix(".before")
    shutil.copyfile(image, now)
    for _ in range(20):
        now.replace(before)
        shutil.copyfile(image, now)
        if filecmp.cmp(now, before, shallow=False):
            before.unlink()
            return
    raise AssertionError("the disk does not come to rest")


def kept_after(world, disk, env):
    """Records done by what is on the disk now; none where nothing is told."""
    with loop_mount(*disk):
        ran = world.wai("status", "job.yaml", "--json", code=None, env=env)
        return ran.json["records"]["done"] if ran.code == 0 else 0


def survive(world, disk, cuts, seed):
    """Cut by cut: all that was answered a second before is there, the book is not below the meter; then complete."""
    env = {"WAI_STATE_DIR": str(disk[1] / "state")}
    rng = random.Random(seed)
    n = PER_LIFE * cuts
    job(world, n)
    for number in range(cuts):
        answered, metered = cut(world, disk, rng, env=env)
        kept = kept_after(world, disk, env)
        assert kept >= answered, f"cut {number}: {answered} were answered a second before, {kept} are there"
        with loop_mount(*disk):
            rows = world.wai("budget", "--all", "--json", env=env).json["rows"]
            world.wai("status", "job.yaml", "--verify", env=env)
        assert sum(row["neurons"] + row["assumed"] + row["reserved"] for row in rows) >= 0.995 * metered
    world.faults()
    asked = world.stats()["texts"]
    with loop_mount(*disk):
        assert world.run(env=env)["records"] == {"total": n, "done": n, "failed": 0, "pending": 0}
        world.check_once([f"r{i:05}" for i in range(n)], "disk/out")
        assert world.stats()["texts"] - asked == n - kept
        world.wai("status", "job.yaml", "--verify", env=env)
    repeated = world.stats()["input_digests"]["repeated"]
    assert repeated <= cuts * 300  # what 1.5 s hold
    figure("power_cuts", cuts=cuts, survived=cuts, records=n, asked_twice=repeated)


@pytest.mark.slow
def test_power_cuts(world, disk):
    """Three cuts at random moments lose nothing that was promised."""
    survive(world, disk, 3, seed=31)


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_many_power_cuts(world, disk):
    """Twenty cuts at random moments lose nothing that was promised."""
    survive(world, disk, 20, seed=32)


@pytest.mark.slow
def test_the_power_cut_bites(world, disk):
    """With syncs that do nothing the same cut loses answers: the test above proves something."""
    folder = world.folder / "nosync"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import os\nos.fsync = os.fdatasync = lambda fd: None\n")
    env = {"PYTHONPATH": f"{folder}:{world.env.get('PYTHONPATH', '')}"}
    job(world, PER_LIFE)
    answered, _ = cut(world, disk, random.Random(33), env=env)
    kept = kept_after(world, disk, {})
    assert kept < answered
    figure("power_cut_without_sync", answered=answered, kept=kept)
