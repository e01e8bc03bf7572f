"""SIGKILL at every named step of `wai run`, and at random moments: no row lost or doubled, no kept answer paid twice.

Promises P1, P2 and P3, over real sockets against the emulator, each life in a process of its own. What a power cut
may leave, and each single operation of the store, is asked in test_storage_crash.py without processes.
"""

import itertools
import shutil
from dataclasses import dataclass, field
from itertools import islice

import pytest

from pipeline.tasks.longtext import cautious_tokens
from tests.support.cli import World, sentences, settle_down, write_jsonl
from tests.support.trials import Trial, contents

MODEL = "@cf/baai/bge-small-en-v1.5"
REJECT = "the emulator will not take this one"
BATCH, CONCURRENCY = 10, 3
N_TEXTS, N_EQUAL, N_REJECTED = 150, 12, 3

REJECTING = {"fault": "5006", "match": REJECT}
LIMITS = {"batch_size": BATCH, "concurrency": CONCURRENCY}
BUDGET = {"neurons_per_day": 2_000}  # small, so that a lease is of the size of what is in flight
TICK_S = 0.001  # heartbeats in a life that sends for a few milliseconds


def first_texts():
    """Record id -> text: distinct ones, some that are refused, and some that equal another."""
    texts = {f"r{n:05}": text for n, text in enumerate(sentences()[:N_TEXTS])}
    texts |= {f"x{n:05}": f"{REJECT}: {n}" for n in range(N_REJECTED)}
    return texts | {f"s{n:05}": texts[f"r{7 * n:05}"] for n in range(N_EQUAL)}


def changed_texts():
    """The same records for a second run: a few have another text."""
    return first_texts() | {f"r{n:05}": f"{text} (Revised.)" for n, text in enumerate(sentences()[:N_TEXTS:50])}


def long_texts():
    """Records whose paragraphs are chunks, too long for two to share one; some are in one request, some in several."""
    paragraphs = iter([text for text in sentences() if 33 <= cautious_tokens(text) <= 64])
    texts = {f"d{n:05}": tuple(islice(paragraphs, 1 + 5 * (n % 7))) for n in range(18)}
    return texts | {"e00000": texts["d00003"], "e00001": texts["d00000"]}


def prepare(world, texts):
    joined = {name: text if isinstance(text, str) else "\n\n".join(text) for name, text in texts.items()}
    write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": text} for name, text in joined.items()])


@dataclass(frozen=True)
class Stage:
    """Lives of one kind, all from the same beginning.

    Attributes:
        texts: The input.
        rules: Faults of the emulator.
        options: As on the command line.
        after: Folder to begin with: what is left by a clean life of another stage, or by one killed at a step; None for
            nothing.
        steps: Steps that every clean life passes.
        own: Those of them that are tried by default; the others are tried by default in another stage.
        params: Of the job.
    """

    texts: dict
    rules: tuple
    options: dict
    after: tuple | None
    steps: frozenset
    own: frozenset
    params: dict = field(default_factory=dict)


def steps(*groups):
    return frozenset(f"{verb} {what}" for verbs, what in groups for verb in verbs.split())


SMALL_FILE = "create write fsync rename"
OPENING = steps((SMALL_FILE, "holder"), ("unlink", "holder"), ("dirsync", "run"))
SENDING = steps(("create write fsync fdatasync unlink", "journal"), (SMALL_FILE, "manifest"))
SENDING |= steps((SMALL_FILE, "results part"), (SMALL_FILE, "sidecar"), ("dirsync", "results"), ("dirsync", "index"))
SENDING |= {"ledger open_lease", "ledger extend", "ledger heartbeat", "ledger close", "engine settle", "sink put"}
SENDING |= {"slate write", "slate remove"}
FAILING = steps((SMALL_FILE, "failures part"), ("dirsync", "failures"))
CREATING = steps(*(("mkdir", name) for name in ("root", "run", "index", "results", "failures", "media")))
CREATING |= steps(("dirsync", "root"), ("dirsync", "parent"), (SMALL_FILE, "job.yaml"), ("create write rename", "scan"))
REWRITING = steps(("create write fsync rename", "staged"), ("unlink", "failures part"), ("unlink", "sidecar"))
SWEEPING = steps(("unlink", "leftover manifest"), ("unlink", "results part"), ("unlink", "sidecar"))

HANDING_OVER = {"write journal", "write results part", "rename manifest", "sink put"}
MOVING = {"rename staged", "unlink sidecar"}
FIRST = OPENING | CREATING | SENDING | FAILING

AGAIN = {"retry_failed": True, "replace_changed": True}
# what a kill between publishing a part and naming it leaves, and between naming a rewritten part and moving it
PUBLISHED = ("first", "before", "rename manifest", 3)
STAGED = ("again", "before", "rename staged", 1)
STAGES = {
    "first": Stage(first_texts(), (REJECTING,), {}, None, FIRST, FIRST),
    "again": Stage(changed_texts(), (), AGAIN, ("first",), OPENING | SENDING | REWRITING, REWRITING),
    "swept": Stage(first_texts(), (REJECTING,), {}, PUBLISHED, OPENING | SWEEPING, SWEEPING),
    "chunks": Stage(long_texts(), (), {}, None, OPENING | CREATING | SENDING, HANDING_OVER, {"chunk_tokens": 64}),
    "moved": Stage(changed_texts(), (), AGAIN, STAGED, OPENING | MOVING, MOVING),
}
ALL_STEPS = frozenset().union(*(stage.steps for stage in STAGES.values()))
SYNCS = ("fsync", "fdatasync", "dirsync")


def matrix():
    """Every step of every stage, before and after it, at its first and at its last occurrence.

    By default each step of the commit once, and `after` only where that differs from `before` for a process that dies:
    a sync changes nothing that another process could see.
    """
    torture = pytest.mark.torture
    for name, stage in STAGES.items():
        for step, when in itertools.product(sorted(stage.steps), ("before", "after")):
            if step in stage.own:
                is_same = when == "after" and step.startswith(SYNCS)
                yield pytest.param(name, step, when, "second", marks=torture if is_same else ())
            for which in ("first", "last"):
                yield pytest.param(name, step, when, which, marks=torture)


class Stages:
    """Begins trials; what a stage begins with is made once and copied."""

    def __init__(self, folder, emulator, log, lives):
        self._folder, self._emulator, self._log, self._lives = folder, emulator, log, lives
        self._numbers = itertools.count()
        self._made = {}
        self._clean = {}

    def trial(self, name):
        """A fresh trial of a stage."""
        stage = STAGES[name]
        folder = self._folder / f"{name}-{next(self._numbers)}"
        if stage.after is None:
            folder.mkdir()
        else:
            shutil.copytree(self._beginning(*stage.after), folder)
        settle_down(self._emulator)
        world = World(folder, self._emulator)
        world.faults(*stage.rules)
        prepare(world, stage.texts)
        world.spec(
            model=MODEL,
            params=stage.params,
            limits=LIMITS,
            budget=BUDGET,
            checkpoint={"seconds": 0.05, "rows_per_part": 100},
            output={"path": "out", "include_input": True},
        )
        return Trial(
            world,
            self._lives,
            self._log,
            model=MODEL,
            texts=stage.texts,
            in_flight=BATCH * CONCURRENCY,
            repeats_failures="retry_failed" in stage.options,
        )

    def _live(self, trial, name, **more):
        return trial.live(options=STAGES[name].options, tick_s=TICK_S, **more)

    def _beginning(self, name, when=None, step=None, occurrence=1):
        key = (name, when, step, occurrence)
        if key not in self._made:
            if step is None:
                self.clean(name)
            else:
                trial = self.trial(name)
                assert self._live(trial, name, step=step, when=when, occurrence=occurrence).was_killed
                self._made[key] = trial.world.folder
        return self._made[key]

    def clean(self, name):
        """Steps of a life that nobody killed, and the rows it left."""
        if name not in self._clean:
            trial = self.trial(name)
            life = self._live(trial, name)
            self._clean[name] = (life.steps, rows_of(trial))
            self._made[name, None, None, 1] = trial.world.folder
        return self._clean[name]

    def killed(self, name, step, when, which):
        """A trial whose first life was killed where told. How often a step occurs is not the same in every life."""
        seen, _ = self.clean(name)
        occurrence = {"first": 1, "second": min(2, seen[step]), "last": seen[step]}[which]
        for _ in range(8):
            trial = self.trial(name)
            life = self._live(trial, name, step=step, when=when, occurrence=occurrence)
            if life.was_killed:
                return trial
            shutil.rmtree(trial.world.folder)
            occurrence = life.steps[step]
        raise AssertionError(f"{step} was not reached")


def rows_of(trial):
    results = contents(trial.layout.folder("results"), ["id", "input", "embedding"])
    return results, contents(trial.layout.folder("failures"), ["id", "code"])


@pytest.fixture(scope="session")
def stages(memory, logged_emulator, request_log, lives):
    return Stages(memory, logged_emulator, request_log, lives)


@pytest.mark.parametrize("name", list(STAGES))
def test_the_matrix_names_every_step(stages, name):
    """A step that is new in the program, or gone from it, must be added here, or taken out."""
    seen, _ = stages.clean(name)
    assert set(seen) >= STAGES[name].steps
    assert set(seen) <= ALL_STEPS


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step", "when", "which"), list(matrix()))
def test_killed_at_a_step(stages, name, step, when, which):
    """Killed at any step: whole files, then the rows of a clean run; nothing that was kept is paid twice (P1-P3)."""
    trial = stages.killed(name, step, when, which)
    stage = STAGES[name]
    failed = {record for record in stage.texts if record.startswith("x")} if stage.rules else set()
    trial.finish(failed=failed, options=stage.options)
    _, expected = stages.clean(name)
    assert rows_of(trial) == expected
    shutil.rmtree(trial.world.folder)
