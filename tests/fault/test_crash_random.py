"""SIGKILL at random moments of one job, over real sockets: no row lost or doubled, no kept answer paid twice (P1-P3).

Each life is a process of its own (tests/support/crashing.py); after each the files are read and compared with the
request log of the emulator (tests/support/trials.py). What came out is noted as figures.
"""

import random
import shutil
from dataclasses import dataclass

import pytest

from tests.support.cli import World, sentences, settle_down, write_jsonl
from tests.support.trials import Trial

SEED = 20261122
TORTURE_S = 1_800


@dataclass(frozen=True)
class Task:
    """A job whose texts go out at a known pace: `concurrency` requests of `batch` texts each `latency_s`.

    The allowance is twice what the records cost, `neurons` each: kills must not use it up, and a lease, which is 0.5 %
    of it, is of the size of what is in flight.
    """

    name: str
    model: str
    batch: int
    concurrency: int
    latency_s: float
    neurons: float
    params: dict


EMBED = Task("embed", "@cf/baai/bge-small-en-v1.5", 4, 8, 0.1, 0.08, {})
GENERATE = Task("generate", "@cf/meta/llama-3.1-8b-instruct-fp8", 1, 12, 0.06, 1.6, {"max_tokens": 64})
QUICK = Task("embed", "@cf/baai/bge-small-en-v1.5", 2, 4, 0.02, 0.08, {})


@pytest.fixture
def begin(memory, logged_emulator, request_log, lives):
    """Make a trial of so many records with a text of their own each; the allowance is ample unless it is given."""
    folder = memory / "random"

    def make(task, n_records, neurons_per_day=None):
        settle_down(logged_emulator)
        folder.mkdir()
        world = World(folder, logged_emulator)
        world.latency(task.latency_s)
        pool = sentences()
        texts = {f"r{n:05}": f"{n}: {pool[n % len(pool)]}" for n in range(n_records)}
        write_jsonl(world.folder / "data.jsonl", [{"id": name, "text": text} for name, text in texts.items()])
        world.spec(
            task=task.name,
            model=task.model,
            params=task.params,
            budget={"neurons_per_day": neurons_per_day or 2 * task.neurons * n_records},
            limits={"batch_size": task.batch, "concurrency": task.concurrency},
            checkpoint={"seconds": 0.2, "rows_per_part": 300},
            output={"path": "out", "include_input": True},
        )
        return Trial(world, lives, request_log, model=task.model, texts=texts, in_flight=task.batch * task.concurrency)

    yield make
    shutil.rmtree(folder, ignore_errors=True)


def at_full_speed(trial):
    """The rest of the job without a kill, all checks included."""
    trial.world.faults()
    trial.finish(overrides=("limits.batch_size=100",))


torture = [pytest.mark.torture, pytest.mark.timeout(TORTURE_S)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "n_records", "kills"),
    [
        pytest.param(EMBED, 3_000, 20, id="embed-20"),
        pytest.param(GENERATE, 1_500, 10, id="generate-10"),
        pytest.param(EMBED, 24_000, 200, id="embed-200", marks=torture),
        pytest.param(GENERATE, 20_000, 200, id="generate-200", marks=torture),
    ],
)
def test_killed_at_random_moments(begin, figures, task, n_records, kills):
    """Killed within 0.6 s of sending, or while it starts, and resumed: each row once, none paid twice (P1, P2)."""
    rng = random.Random(SEED)
    trial = begin(task, n_records)
    for number in range(kills):
        from_start = number % 5 == 4
        life = trial.live(
            kill_s=rng.uniform(0.0, 0.1 if from_start else 0.6),
            from_start=from_start,
        )
        assert life.was_killed, f"life {number} came to its end with {life.code}: give it more records"
    at_full_speed(trial)
    assert trial.kills == kills
    figures(trial.figures())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lives_lived", "n_records", "stretch"),
    [
        pytest.param(15, 1_000, 5, id="15"),
        pytest.param(300, 12_000, 20, id="300", marks=torture),
    ],
)
def test_a_crash_loop_gets_on(begin, figures, lives_lived, n_records, stretch):
    """Killed again and again after 30 to 80 ms of sending, a job keeps more each time and is paid for what it keeps."""
    rng = random.Random(SEED)
    trial = begin(QUICK, n_records)
    kept = [0]
    for _ in range(lives_lived):
        assert trial.live(kill_s=rng.uniform(0.03, 0.08)).was_killed
        if trial.kills % stretch == 0:
            kept.append(len(trial.kept))
            assert kept[-1] > kept[-2], f"nothing gained in {stretch} lives"
        assert trial.asked.total() <= len(trial.kept) + trial.kills * trial.bound
    at_full_speed(trial)
    figures({**trial.figures(), "kept_on_the_way": kept[1:]})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "budget"), [pytest.param(10, 60.0, id="10"), pytest.param(40, 200.0, id="40", marks=torture)]
)
def test_kills_into_the_end_of_the_budget(begin, figures, kills, budget):
    """Killed again and again and then started three times more, a job never spends more than the day has (P3, P4)."""
    rng = random.Random(SEED)
    trial = begin(EMBED, 3_000 if kills == 10 else 9_000, budget)
    for _ in range(kills):
        assert trial.live(kill_s=rng.uniform(0.0, 0.3)).was_killed
        assert trial.metered <= budget
    before = trial.metered
    for _ in range(3):
        life = trial.live()
        assert (life.code, life.report["stop_reason"]) == (3, "budget_spent")
        assert trial.metered <= trial.booked() <= budget
    lost = kills * trial.bound * EMBED.neurons  # what was in flight may have been charged, and counts as spent
    assert before < 0.9 * budget
    assert trial.metered >= 0.99 * budget - lost
    figures({"kills": kills, "budget": budget, "metered": round(trial.metered, 3), "booked": round(trial.booked(), 3)})
