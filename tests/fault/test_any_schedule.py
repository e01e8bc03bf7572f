"""One job under any schedule of kills, damage, clocks and reordered input: the rows of a run that nobody disturbed.

Promises P1 to P3. Each life is a process of its own (tests/support/crashing.py); after each, files, request log and
book are compared (tests/support/trials.py). What is damaged and cannot be made anew is refused, and goes on once it is
as it was.
"""

import json
import random
import shutil
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from pipeline.storage import verify_folder
from pipeline.tasks.longtext import cautious_tokens
from tests.support.cli import World, sentences, settle_down
from tests.support.crashing import ANY
from tests.support.trials import Trial, contents

MODEL = "@cf/baai/bge-small-en-v1.5"
REJECT = "the emulator will not take this one"
BATCH, CONCURRENCY = 3, 3
DAY_S = 86_400
PIECES = "pieces.sqlite3"
MOST_DAYS = 20
COLUMNS = ["id", "chunk", "input", "embedding"]

# What a run makes anew or does without, or what may be removed; and what it must refuse or leave alone.
SPARE = ["run/journal-*", "run/scan", f"run/{PIECES}*", "run/events.jsonl", "run/holder.json", "run/job.yaml"]
TRUTH = ["run/manifest.json", "run/index/*", "run/staged-*", "results/*", "failures/*"]


def texts():
    """Record id -> text, or the chunks of one: short and long ones, some that are refused, some that equal another."""
    paragraphs = iter([text for text in sentences() if 33 <= cautious_tokens(text) <= 64])
    found = {f"d{n}": tuple(next(paragraphs) for _ in range(1 + 4 * (n % 3))) for n in range(12)}
    found |= {f"x{n}": f"{REJECT}: {n}" for n in range(2)}
    return found | {"e0": found["d1"], "e1": found["d0"]}


TEXTS = texts()
FAILED = frozenset(name for name in TEXTS if name.startswith("x"))


class Bench:
    """Begins trials of the job, each in a folder of its own."""

    def __init__(self, folder, emulator, log, lives):
        self._folder, self._emulator, self._log, self._lives = folder, emulator, log, lives
        self.counts = Counter()
        clean = self.trial()
        clean.finish(failed=FAILED)
        self.per_day = 0.7 * clean.metered
        self.expected = rows_of(clean)

    def trial(self, per_day=1_000.0):
        settle_down(self._emulator)
        folder = self._folder / "schedule"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        world = World(folder, self._emulator)
        world.faults({"fault": "5006", "match": REJECT})
        world.spec(
            model=MODEL,
            params={"chunk_tokens": 64},
            limits={"batch_size": BATCH, "concurrency": CONCURRENCY},
            budget={"neurons_per_day": per_day},
            checkpoint={"seconds": 0.02, "rows_per_part": 100},
            output={"path": "out", "include_input": True},
        )
        write_input(world, list(TEXTS))
        in_flight = BATCH * CONCURRENCY
        return Trial(world, self._lives, self._log, model=MODEL, texts=TEXTS, in_flight=in_flight)


def write_input(world, order):
    """data.jsonl with the records in this order."""
    joined = {name: text if isinstance(text, str) else "\n\n".join(text) for name, text in TEXTS.items()}
    lines = [json.dumps({"id": name, "text": joined[name]}) + "\n" for name in order]
    (world.folder / "data.jsonl").write_text("".join(lines), encoding="utf-8")


def rows_of(trial):
    results = contents(trial.layout.folder("results"), COLUMNS)
    return sorted(results, key=lambda row: (row["id"], row["chunk"])), contents(
        trial.layout.folder("failures"), ["id", "code"]
    )


PLACES = st.floats(0.0, 1.0, exclude_max=True)
BITS = st.sampled_from([0, 3, 7, None])
HOURS = st.sampled_from([0, 24, -2, 1, -30])
SEEDS = st.integers(0, 9)


class Schedule(RuleBasedStateMachine):
    """What may befall a job. `bench` is set by the test."""

    bench = None

    @initialize()
    def begin(self):
        self.trial = self.bench.trial(self.bench.per_day)
        self.ahead_s = self.latest_s = 0.0

    def live(self, **order):
        life = self.trial.live(clock_ahead_s=self.ahead_s, **order)
        if life.code == 10:  # what was paid for is not dropped unasked
            assert f"{PIECES}: " in life.refusal
            for file in self.files([f"run/{PIECES}*"]):
                file.unlink()
            self.trial.damaged()
            life = self.trial.live(clock_ahead_s=self.ahead_s, **order)
        if not life.was_killed:
            assert life.code in {3, 4}, life
            if life.code == 3:
                assert life.report["stop_reason"] == "budget_spent"
        return life

    @rule()
    def run_to_its_end(self):
        self.live()

    @rule(number=st.integers(1, 70), when=st.sampled_from(["before", "after"]), hours=HOURS, seed=SEEDS)
    def run_and_be_killed(self, number, when, hours, seed):
        """At this step, counted over all; the clock was set and the input reordered before."""
        self.ahead_s += 3_600.0 * hours
        self.latest_s = max(self.latest_s, self.ahead_s)
        order = list(TEXTS)
        random.Random(seed).shuffle(order)
        write_input(self.trial.world, order)
        self.live(step=ANY, when=when, occurrence=number)

    def files(self, kinds):
        root = self.trial.layout.root
        return [file for kind in kinds for file in sorted(root.glob(kind))]

    def damaged(self, kinds, which, place, bit):
        """Flip a bit of one of these files at this place, or cut it there; returns the file and what it was."""
        files = [file for file in self.files(kinds) if file.stat().st_size]
        if not files:
            return None, b""
        file = files[int(which * len(files))]
        whole = file.read_bytes()
        at = int(place * len(whole))
        self.bench.counts["damages"] += 1
        file.write_bytes(whole[:at] if bit is None else whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        return file, whole

    @rule(which=PLACES, place=PLACES, bit=BITS)
    def damage_what_can_be_spared(self, which, place, bit):
        """A run asks at most for what was in it."""
        self.damaged(SPARE, which, place, bit)
        self.trial.damaged()

    @rule(which=PLACES, place=PLACES, bit=BITS)
    def damage_what_cannot(self, which, place, bit):
        """It is found and its file named; a run refuses, or does not read it. As it was, it goes on."""
        file, whole = self.damaged(TRUTH, which, place, bit)
        if file is None:
            return
        damaged = file.read_bytes()
        assert any(file.name in problem for problem in verify_folder(self.trial.layout.root))
        life = self.trial.lived(clock_ahead_s=self.ahead_s)
        if life.code == 10:
            assert file.name in life.refusal
        else:
            assert file.parent.name in {"results", "failures"}, f"{file.name}: {life}"
            assert life.code in {3, 4}, life
        assert file.read_bytes() == damaged
        file.write_bytes(whole)
        self.trial.check(life)

    def teardown(self):
        if not hasattr(self, "trial"):
            return
        life = self.live()
        self.ahead_s = self.latest_s
        for _ in range(MOST_DAYS):
            if life.code == 4:
                break
            self.ahead_s += DAY_S
            life = self.live()
        self.trial.finished(life, failed=FAILED)
        self.bench.counts.update(schedules=1, kills=self.trial.kills, paid_twice=self.trial.repeated)
        assert rows_of(self.trial) == self.bench.expected


@pytest.fixture
def bench(memory, logged_emulator, request_log, lives):
    return Bench(memory, logged_emulator, request_log, lives)


@pytest.mark.slow
@pytest.mark.parametrize(
    "examples",
    [20, pytest.param(200, marks=[pytest.mark.torture, pytest.mark.timeout(1_800)])],
)
def test_the_rows_are_those_of_a_run_that_nobody_disturbed(bench, figures, examples):
    """Whatever happens in whatever order: each record once, the same results, nothing kept is paid twice."""
    Schedule.bench = bench
    run_state_machine_as_test(
        Schedule,
        settings=settings(
            max_examples=examples,
            stateful_step_count=4,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # what lives do depends on time: to shrink takes hours, and the steps are few
            suppress_health_check=list(HealthCheck),
        ),
    )
    figures(dict(bench.counts))
