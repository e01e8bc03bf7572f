"""The kept reading of an input: used where nothing has changed, and made again in every other case."""

import errno
import io
import os
import shutil
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline import keptscan
from pipeline.control import Options
from pipeline.errors import OutputDamaged, SourceError
from pipeline.keptscan import SETTLED_S
from pipeline.outputs import open_output
from pipeline.plan import SAMPLES, kept_columns
from pipeline.planning import opened, scanned
from pipeline.resolve import resolve
from pipeline.settings import Secret, Settings
from pipeline.spec import load_spec
from pipeline.storage import Layout, find_kept
from pipeline.storage.faults import FaultyDisk, SimulatedCrash
from pipeline.storage.kept import write_kept
from tests.support.cli import write_jsonl

N = 3 * SAMPLES
DATA, SCAN = Path("data.jsonl"), Path("out/run/scan")
COLUMNS = ("id_keys", "payload_keys", "sizes", "expected", "ceilings")
INPUT = {"path": "data.jsonl", "id": "id", "keep": ["n", "mixed"]}


class Later:
    """The time some seconds after everything was written."""

    def __init__(self, seconds=60.0):
        self._ahead = timedelta(seconds=seconds)

    def now(self):
        return datetime.now(UTC) + self._ahead

    def monotonic(self):
        return 0.0


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write()


def write(n=N, **more):
    mixed = [7, 0.5, "text", None, True, [1], 2**70]
    records = [{"id": f"r{i:04}", "text": f"text {i}", "n": i, "mixed": mixed[i % 7]} for i in range(n)]
    records[n // 2]["text"] = " "
    write_jsonl(DATA, [record | more for record in records])


def append():
    with DATA.open("a") as file:
        file.write('{"id": "z", "text": "z"}\n')


def job_of(*, model="@cf/baai/bge-small-en-v1.5", **changes):
    values = {"task": "embed", "name": "job", "model": model, "output": {"path": "out"}, "input": INPUT} | changes
    Path("job.yaml").write_text(str(values).replace("True", "true"))
    settings = Settings(account_id="0" * 32, api_token=Secret("t"), base_url="https://x.example", state_dir=Path("s"))
    return resolve(load_spec(Path("job.yaml")), settings)


class Life:
    """What a run does before it sends: reads or recalls, opens the output, keeps, and ends."""

    def __init__(self, job, clock=None):
        self.told, self.seen = [], Counter()
        outline = job.adapter.outline

        def counted(record):
            self.seen["outlined"] += 1
            return outline(record)

        job.adapter.outline = counted
        clock = clock or Later()
        with opened(job) as source:
            self.found = scanned(job, source, lambda n: self.seen.update(shown=n), clock)
            store, _, self.keep = open_output(job, self.found, Options(), clock=clock, tell=self.told.append)
            store.abandon()

    @property
    def was_recalled(self):
        return self.seen["outlined"] <= SAMPLES


def same(one, other):
    names = ("columns", "n_unusable", "first_unusable", "total")
    return (
        all(np.array_equal(getattr(one, name)[:], getattr(other, name)[:]) for name in COLUMNS)
        and all(getattr(one, name) == getattr(other, name) for name in names)
        and kept_columns([*one.kept], one.kept) == kept_columns([*other.kept], other.kept)
    )


def test_what_was_read_is_recalled():
    """All of it, with the types of kept columns and what was wrong; and the first records alone are looked at."""
    first, second, third = Life(job_of()), Life(job_of()), Life(job_of())
    assert not first.was_recalled
    assert second.was_recalled
    assert third.was_recalled
    assert same(first.found, second.found)
    assert second.found.n_unusable == 1
    assert [column.kind for column in second.keep] == ["int64", "json"]
    assert second.seen["shown"] == N
    assert first.told == second.told == []


def test_a_plan_uses_what_a_run_kept_and_keeps_nothing():
    """`wai plan` writes nothing."""
    with opened(job_of()) as source:
        scanned(job_of(), source)
    assert not Path("out").exists()
    Life(job_of())
    with opened(job_of()) as source:
        assert not scanned(job_of(), source).key
        append()
    kept = SCAN.read_bytes()
    with opened(job_of()) as source:
        assert len(scanned(job_of(), source)) == N + 1
    assert SCAN.read_bytes() == kept


def rewritten_in_place():
    """The same size, and the old time of its content: `cp -p` over it, or an editor that sets times back."""
    status = DATA.stat()
    content = DATA.read_bytes().replace(b'"text 40"', b'"tEXT 40"')
    with DATA.open("r+b") as file:
        file.write(content)
    os.utime(DATA, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced():
    """Another file of the same size and time under the old name."""
    status = DATA.stat()
    Path("new").write_bytes(DATA.read_bytes().replace(b'"text 40"', b'"tEXT 40"'))
    os.utime("new", ns=(status.st_atime_ns, status.st_mtime_ns))
    Path("new").rename(DATA)


def moved_elsewhere():
    """Another working folder with files of the same names."""
    shutil.copytree(".", "sub", ignore=shutil.ignore_patterns("sub"))
    os.chdir("sub")


INPUTS = {
    "longer": append,
    "shorter": lambda: write(N - 1),
    "touched": lambda: os.utime(DATA),
    "rewritten": rewritten_in_place,
    "replaced": replaced,
    "elsewhere": moved_elsewhere,
}


@pytest.mark.parametrize("how", INPUTS)
def test_an_input_that_may_have_changed_is_read(how):
    """Size, times, inode, place: what differs is not looked into."""
    Life(job_of())
    INPUTS[how]()
    with opened(job_of()) as source:
        assert scanned(job_of(), source, clock=Later()).key


@pytest.mark.parametrize(
    "changes",
    [
        {"input": INPUT | {"limit": N - 1}},
        {"input": INPUT | {"where": "n > 5"}},
        {"input": INPUT | {"keep": ["n"]}},
        {"input": {key: value for key, value in INPUT.items() if key != "id"}},
        {"input": INPUT | {"text": "Passage: {text}"}},
        {"input": INPUT | {"path": ["data.jsonl", "more.jsonl"]}},
        {"input": INPUT | {"path": "./data*.jsonl"}},
        {"model": "@cf/baai/bge-base-en-v1.5"},
        {"params": {"pooling": "cls"}},
        {"task": "generate", "model": "@cf/meta/llama-3.2-1b-instruct", "input": INPUT | {"text": "text"}},
        {"model_info": {"dimensions": 9}},
    ],
    ids=lambda changes: str(next(iter(changes.values())))[-30:],
)
def test_another_selection_or_job_is_read(changes):
    """What changes a digest, a price or the selection makes another scan."""
    Path("more.jsonl").write_text("".join(f'{{"id": "m{n}", "text": "more {n}"}}\n' for n in range(40)))
    Life(job_of())
    job = job_of(**changes)
    with opened(job) as source:
        assert scanned(job, source, clock=Later()).key


def test_another_glossary_reads():
    """Its path stands in the job, its terms do not; and no term is in the first records."""
    terms = Path("terms.csv")
    params = {"source_lang": "en", "target_lang": "de", "glossary": str(terms)}
    translate = {"task": "translate", "model": "@cf/meta/m2m100-1.2b", "params": params}

    def life(target):
        terms.write_text(f"source,target\ntext {N - 1},{target}\n")
        return Life(job_of(**translate))

    first, second, third = life("Wort"), life("Wort"), life("Begriff")
    assert second.was_recalled
    assert not third.was_recalled
    assert first.found.payload_keys[0] == third.found.payload_keys[0]
    assert first.found.payload_keys[N - 1] != third.found.payload_keys[N - 1]


def test_another_version_reads(monkeypatch):
    """Its rules may be others."""
    Life(job_of())
    monkeypatch.setattr(keptscan, "__version__", "0.0.0+other")
    assert not Life(job_of()).was_recalled


def test_what_does_not_change_the_scan_recalls_it():
    """Limits, budget and the name of the job are free."""
    Life(job_of())
    assert Life(job_of(name="other", limits={"concurrency": 3}, budget={"neurons_per_day": 7})).was_recalled


@pytest.mark.parametrize("seconds", [-3600.0, 0.0, SETTLED_S - 1.0])
def test_an_input_of_just_now_is_not_kept(seconds):
    """A change in the same tick of the file system's clock could not be told; nor is a clock believed that lags."""
    assert not Life(job_of(), Later(seconds)).found.key
    assert not SCAN.exists()


def test_an_input_that_changes_while_it_is_read_is_not_kept():
    """The scan is of neither the old file nor the new one."""
    job = job_of()
    with opened(job) as source:
        found = scanned(job, source, lambda _: append(), Later())
    assert not found.key
    job = job_of()
    with opened(job) as source:
        assert not scanned(job, source, lambda _: DATA.unlink(missing_ok=True), Later()).key


def test_stdin_is_not_kept(monkeypatch):
    """Nobody knows what comes through a pipe the next time."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DATA.read_bytes())))
    assert not Life(job_of(input=INPUT | {"path": "-"})).found.key


def test_items_are_recalled_until_they_change():
    """Records of the spec: they are their own fingerprint."""
    items = [{"id": f"i{n}", "text": f"item {n}"} for n in range(N)]
    Life(job_of(input={"items": items}))
    assert Life(job_of(input={"items": items})).was_recalled
    items[-1]["text"] = "changed"
    with opened(job_of(input={"items": items})) as source:
        assert scanned(job_of(input={"items": items}), source, clock=Later()).key


@pytest.mark.parametrize("changed", ["data.jsonl", "more.jsonl"])
def test_what_is_recalled_holds_the_input_to_it(changed):
    """A file that changes behind a recalled scan is not read on, as behind one that was made; any of them."""
    write_jsonl(Path("more.jsonl"), [{"id": f"m{n}", "text": f"more {n}"} for n in range(3)])
    job = job_of(input=INPUT | {"path": ["data.jsonl", "more.jsonl"]})
    Life(job)
    with opened(job) as source:
        assert not scanned(job, source).key
        Path(changed).write_bytes(Path(changed).read_bytes() + b"{}\n")
        with pytest.raises(SourceError, match="has changed since the run began"):
            list(source.read())


# -- files that cannot be trusted ---------------------------------------------------------------------------------


def damages(content):
    """Every byte flipped, one at a time and in steps; every kind of length."""
    for at in [*range(80), *range(80, len(content), 61), *range(len(content) - 20, len(content))]:
        yield content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]
    for size in (0, 1, 39, 40, 41, 300, len(content) // 2, len(content) - 16, len(content) - 1):
        yield content[:size]
    yield content + b"\0"
    yield bytes(len(content))


def test_a_damaged_scan_is_made_again():
    """No flipped bit and no length is believed; and the damaged one is replaced by a sound one."""
    found = Life(job_of()).found
    content = SCAN.read_bytes()
    key = found.key
    assert find_kept(SCAN, key, keptscan._TYPES) is not None
    for damaged in damages(content):
        SCAN.write_bytes(damaged)
        assert find_kept(SCAN, key, keptscan._TYPES) is None
    SCAN.write_bytes(content[:-5])
    assert not Life(job_of()).was_recalled
    assert SCAN.read_bytes() == content


def test_a_scan_that_is_no_file_is_made_again():
    """A link out of the folder is replaced and never written through."""
    Life(job_of())
    Path("precious").write_text("mine")
    SCAN.unlink()
    SCAN.symlink_to(Path("precious").resolve())
    assert not Life(job_of()).was_recalled
    assert not SCAN.is_symlink()
    assert Path("precious").read_text() == "mine"
    SCAN.unlink()
    SCAN.mkdir()
    life = Life(job_of())
    assert not life.was_recalled
    (said,) = life.told
    assert said.startswith("the next run will have to read the whole input again: ")


def test_a_foreign_scan_is_not_used():
    """One of another job, put here by hand."""
    Life(job_of(output={"path": "other"}, input=INPUT | {"text": "Passage: {text}"}))
    Life(job_of())
    shutil.copy("other/run/scan", SCAN)
    assert not Life(job_of()).was_recalled


@pytest.mark.parametrize("column", range(5))
def test_a_scan_made_by_other_rules_is_not_used(column):
    """Whole and under the right key, but the first records come out otherwise now."""
    found = Life(job_of()).found
    kept = find_kept(SCAN, found.key, keptscan._TYPES)
    columns = [each[:] for each in kept.columns]
    columns[column][SAMPLES - 1] = columns[column][0]
    if column >= 2:
        columns[column][SAMPLES - 1] += 5
    write_kept(FaultyDisk(), Layout(Path("out")), replace(kept, columns=columns))
    life = Life(job_of())
    assert not life.was_recalled
    assert same(life.found, found)


@pytest.mark.parametrize("more", [-1, 1])
def test_a_scan_of_another_number_of_records_is_not_used(more):
    """The same, where there are fewer of them than are tried."""
    write(SAMPLES // 2)
    found = Life(job_of()).found
    kept = find_kept(SCAN, found.key, keptscan._TYPES)
    columns = [np.resize(each[:], SAMPLES // 2 + more) for each in kept.columns]
    write_kept(FaultyDisk(), Layout(Path("out")), replace(kept, columns=columns))
    with opened(job_of()) as source:
        assert scanned(job_of(), source, clock=Later()).key


def test_columns_are_of_the_file_that_was_found_sound():
    """Whoever replaces it meanwhile gets a file of their own; one that is cut off is told, not padded."""
    found = Life(job_of()).found
    recalled = Life(job_of()).found
    old = SCAN.open("r+b")
    write(N + 5)
    Life(job_of())
    assert same(recalled, found)
    assert len(recalled.id_keys[N - 3 : N + 3]) == 3
    with old:
        old.truncate(2_000)
    with pytest.raises(OutputDamaged, match="out/run/scan: became shorter"):
        recalled.ceilings[:]


@pytest.mark.parametrize("when", ["before", "torn", "after"])
def test_a_crash_leaves_the_old_scan_or_the_new_one(when):
    """At every operation; what is left under the final name is always whole."""
    found = Life(job_of()).found
    layout, key = Layout(Path("out")), b"k" * 16
    old = find_kept(SCAN, found.key, keptscan._TYPES)
    counting = FaultyDisk()
    write_kept(counting, layout, replace(old, key=key))
    for at in range(1, counting.count + 1):
        write_kept(FaultyDisk(), layout, old)
        with pytest.raises(SimulatedCrash):
            write_kept(FaultyDisk(at, when), layout, replace(old, key=key))
        is_new = at == counting.count and when == "after"
        assert (find_kept(SCAN, key if is_new else found.key, keptscan._TYPES)) is not None


def test_a_disk_that_refuses_costs_the_next_run_a_reading(monkeypatch):
    """The run goes on, says so, and leaves no half file."""
    Life(job_of())
    append()
    counting = FaultyDisk()
    monkeypatch.setattr("pipeline.storage.store.write_kept", lambda _, *more: write_kept(counting, *more))
    Life(job_of())
    for at in range(1, counting.count + 1):
        disk = FaultyDisk(at, error=errno.ENOSPC)
        monkeypatch.setattr("pipeline.storage.store.write_kept", lambda _, *more, disk=disk: write_kept(disk, *more))
        SCAN.unlink(missing_ok=True)
        (said,) = Life(job_of()).told
        assert "the next run will have to read the whole input again" in said
        assert "disk full" in said
        assert not list(Path("out/run").glob("tmp-*"))
        assert not SCAN.exists()
