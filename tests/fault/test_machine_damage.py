"""Bits that flip, files that go missing, folders that are not what they were: found, named, nothing lost in silence."""

import json
import os
import random
import re
import shutil
import signal
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.budget import Ledger
from pipeline.clock import SystemClock
from pipeline.errors import LedgerError, OutputDamaged, OutputError
from pipeline.records import Failure, Row, digest
from pipeline.storage import JobIdentity, Store, key_array, verify_folder
from pipeline.storage.index import DONE, FAILED, NEW
from pipeline.storage.journal import JournalReader, count_rows
from pipeline.storage.layout import KINDS, Layout
from pipeline.storage.manifest import read_manifest
from tests.support.cli import ACCOUNT, come_to_rest, sentences
from tests.support.figures import figure

N = 240
FLIPS = 200
TORTURE = [pytest.mark.torture, pytest.mark.timeout(1_200)]
FAILING = [f"r{n:05}" for n in (7, 99, 101)]
SHM = Path("/dev/shm")


@dataclass
class Sample:
    """An output folder, and every row that it holds."""

    path: Path
    rows: dict  # id -> (kind, Row or Failure)

    def copy(self, to):
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.path, to, symlinks=True)
        return to


def rows_of(path):
    """Every row of a folder by its id, as it can be appended again."""
    layout = Layout(path)
    manifest = read_manifest(layout)
    keys, tables = [], []
    for kind in KINDS:
        for entry in manifest.parts(kind):
            table = pq.read_table(layout.part(kind, entry.name), use_threads=False)
            tables.append((kind, table, layout.sidecar(entry.index).read_bytes()[-32 * entry.rows :]))
    for number in layout.generations():
        for frame in JournalReader(layout.journal(number)):
            tables.append(("results" if frame.is_result else "failures", frame.batch(), frame.keys))
    found = {}
    for kind, table, keys in tables:
        for at, values in enumerate(table.to_pylist()):
            pair = keys[32 * at : 32 * at + 16], keys[32 * at + 16 : 32 * at + 32]
            assert pair[0] == digest(values["id"].encode())
            found[values["id"]] = (kind, Row(*pair, values) if kind == "results" else Failure(*pair, **values))
    return found


@pytest.fixture
def memory(tmp_path):
    """A folder in memory where there is one: thousands of small files."""
    folder = Path(os.path.realpath(SHM if os.access(SHM, os.W_OK) else tmp_path)) / f"wai-damage-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def job(world):
    world.records([f"{text} {'poison' if f'r{n:05}' in FAILING else ''}" for n, text in enumerate(sentences()[:N])])
    world.spec(
        model="@cf/baai/bge-small-en-v1.5",
        limits={"batch_size": 5, "concurrency": 4},
        checkpoint={"rows_per_part": 100},
        retry={"attempts": 1},
    )


@pytest.fixture
def finished(world):
    """A job that ran to its end: several parts, three failures."""
    job(world)
    world.faults({"fault": "5004", "match": "poison"})
    world.run(code=4)
    return sample(world)


@pytest.fixture
def killed(world):
    """A job killed in its middle: parts, and a journal of many frames."""
    job(world)
    world.faults({"fault": "5004", "match": "poison"}, {"fault": "latency", "seconds": 0.03})
    with world.start("run", "job.yaml", "--json") as running:
        index = world.folder / "out" / "run" / "index"
        world.wait_for(
            lambda: world.stats()["texts"] >= 170 and any(index.glob("*.idx")),
            what="answers in a part and in a journal",
        )
        running.send(signal.SIGKILL)
        running.ended()
    come_to_rest(world.emulator)
    world.faults({"fault": "5004", "match": "poison"})
    return sample(world)


def sample(world):
    path = world.folder / "out"
    assert verify_folder(path) == []
    return Sample(path, rows_of(path))


def identity(path):
    manifest = read_manifest(Layout(path))
    job = manifest.job
    return (
        JobIdentity(
            job.name, job.task, job.model, job.identity, manifest.endpoint.kind, manifest.endpoint.base_url, True, "x"
        ),
        manifest.result_columns(),
    )


def resumed(path, known, wanted):
    """What a run does with a folder: recover, ask for what is pending, publish. Returns what was asked for again."""
    job, columns = known
    store = Store.open(path, job=job, columns=columns, rows_per_part=60, clock=SystemClock())
    try:
        ids = list(wanted)
        states = store.index().lookup(
            key_array(wanted[name][1].id_key for name in ids), key_array(wanted[name][1].payload_key for name in ids)
        )
        pending = [name for name, state in zip(ids, states, strict=True) if state == NEW]
        assert set(states) <= {NEW, DONE, FAILED}
        results = [wanted[name][1] for name in pending if wanted[name][0] == "results"]
        store.append(results, [wanted[name][1] for name in pending if wanted[name][0] == "failures"])
        store.seal()
        store.close({})
    finally:
        store.abandon()
    return set(pending)


def ids_in_parts(path):
    return [
        name
        for kind in KINDS
        for part in sorted((path / kind).glob("*.parquet"))
        for name in pq.read_table(part, columns=["id"], use_threads=False)["id"].to_pylist()
    ]


def flip(path, at, mask):
    with path.open("r+b") as file:
        file.seek(at)
        (old,) = file.read(1)
        file.seek(at)
        file.write(bytes([old ^ mask]))


def places(files, count, seed):
    """Seeded places in these files, every file visited alike, its first and last bytes included."""
    rng = random.Random(seed)
    edges = [(file, at) for file in files for at in (0, file.stat().st_size - 1)]
    rest = [
        (file, rng.randrange(file.stat().st_size)) for file in (files[n % len(files)] for n in range(len(edges), count))
    ]
    return [(file, at, 1 << rng.randrange(8)) for file, at in [*edges, *rest][:count]]


def files_of(path, pattern):
    return sorted(file for file in path.glob(pattern) if file.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("state", ["finished", "killed"])
@pytest.mark.parametrize("what", ["results/*", "failures/*", "run/index/*", "run/manifest.json"])
@pytest.mark.parametrize("flips", [FLIPS // 4, pytest.param(250, marks=TORTURE)])
def test_a_flipped_bit_in_what_is_published_is_found(request, memory, state, what, flips):
    """Parts, key indexes, manifest: each flip is found, its file named; a resume refuses or leaves it to be found."""
    it = request.getfixturevalue(state)
    known = identity(it.path)
    refused = 0
    chosen = places(files_of(it.path, what), flips, seed=20)
    for file, at, mask in chosen:
        where = f"bit {mask} of byte {at} of {file.relative_to(it.path)}"
        copy = it.copy(memory / "out")
        hit = copy / file.relative_to(it.path)
        flip(hit, at, mask)
        problems = verify_folder(copy)
        assert any(hit.name in problem for problem in problems), where
        try:
            again, told = resumed(copy, known, it.rows), None
        except OutputDamaged as error:
            again, told = set(), str(error)
            refused += 1
        # Only parts may pass, for they are not read. Nothing is asked for again, and the damage still shows.
        assert hit.name in told if told else what in {"results/*", "failures/*"}, where
        assert again == set(), where
        assert any(hit.name in problem for problem in verify_folder(copy)), where
    figure("flips", state=state, files=what, flips=len(chosen), found=len(chosen), resume_refused=refused)


@pytest.mark.slow
def test_a_flipped_bit_in_a_part_is_not_written_on(finished, memory):
    """A part that must be rewritten is compared with its digest first: damage never gets a new, valid digest."""
    known = identity(finished.path)
    for file, at, mask in places(files_of(finished.path, "results/*00000.parquet"), 40, seed=21):
        copy = finished.copy(memory / "out")
        hit = copy / file.relative_to(finished.path)
        flip(hit, at, mask)
        store = Store.open(copy, job=known[0], columns=known[1], rows_per_part=60, clock=SystemClock())
        try:
            first = pq.read_table(finished.path / "results" / file.name, columns=["id"])["id"][0].as_py()
            doomed = key_array([finished.rows[first][1].id_key])
            with pytest.raises(OutputDamaged, match=file.name):
                store.drop_records(doomed)
            follower = digest(b"follower"), finished.rows[first][1].payload_key, {"id": "follower", "neurons": 0.0}
            with pytest.raises(OutputDamaged, match=file.name):
                store.share([[follower]])
        finally:
            store.abandon()
        assert any(file.name in problem for problem in verify_folder(copy))


@pytest.mark.slow
@pytest.mark.parametrize("flips", [FLIPS, pytest.param(1_000, marks=TORTURE)])
def test_a_flipped_bit_in_a_journal_costs_its_frame_only(killed, memory, flips):
    """Whatever bit of a journal flips, only the rows of its frame are asked for again, and all end up there once."""
    known = identity(killed.path)
    frames = frame_spans(killed.path)
    assert sum(len(spans) for spans in frames.values()) > 5
    sizes = []
    for file, at, mask in places(files_of(killed.path, "run/journal-*"), flips, seed=22):
        where = f"bit {mask} of byte {at} of {file.name}"
        copy = killed.copy(memory / "out")
        flip(copy / file.relative_to(killed.path), at, mask)
        expected = {name for start, end, names in frames[file.name] for name in names if start <= at < end}
        problems = verify_folder(copy)
        # The last frame looks like a torn one: what a killed process leaves, dropped without a word.
        is_last = at >= frames[file.name][-1][0]
        assert is_last or any(file.name in problem for problem in problems), where
        assert resumed(copy, known, killed.rows) == expected, where
        assert sorted(ids_in_parts(copy)) == sorted(killed.rows), where
        assert verify_folder(copy) == [], where
        sizes.append(len(expected))
    figure("journal_flips", flips=len(sizes), rows_asked_again=sum(sizes), rows=len(killed.rows))


def frame_spans(path):
    """Where each frame of each journal lies: (start, end, ids)."""
    spans = {}
    for number in Layout(path).generations():
        file = Layout(path).journal(number)
        reader = JournalReader(file)
        at, spans[file.name] = 18, []
        for frame in reader:
            end = at + 17 + len(frame.keys) + len(frame.body)
            spans[file.name].append((at, end, frame.batch().column("id").to_pylist()))
            at = end
        assert at + reader.torn_bytes == file.stat().st_size
    return {name: found for name, found in spans.items() if found}


@pytest.mark.slow
def test_a_journal_cut_at_any_length_loses_its_last_frame_only(killed, memory):
    """For every length of the last frame: what comes before it is kept, and what is asked for again is there once."""
    known = identity(killed.path)
    (name, spans), *_ = sorted(frame_spans(killed.path).items(), reverse=True)
    start, end, names = spans[-1]
    copy = killed.copy(memory / "out")
    file = copy / "run" / name
    whole = file.read_bytes()
    # Each length of the last frame, behind the header and one frame.
    short = memory / "short.wal"
    short.write_bytes(whole[:18] + whole[spans[-2][0] : end])
    kept = 18 + start - spans[-2][0]
    reader = JournalReader(short)
    for size in range(short.stat().st_size - 1, kept - 1, -1):
        os.truncate(short, size)
        assert sum(frame.rows for frame in reader) == len(spans[-2][2]), size
        assert (reader.torn_bytes, reader.damaged_frames) == (size - kept, 0)
        assert count_rows(short).results + count_rows(short).failures == len(spans[-2][2]), size
    for size in sorted({start, start + 1, (start + end) // 2, end - 1}):
        copy = killed.copy(memory / "out")
        file.write_bytes(whole[:size])
        assert resumed(copy, known, killed.rows) == set(names)
        assert sorted(ids_in_parts(copy)) == sorted(killed.rows)
        assert verify_folder(copy) == []
    figure("torn_tails", lengths=end - start)


@pytest.mark.slow
def test_a_flipped_bit_in_what_is_only_said_stops_nothing(finished, memory):
    """The copy of the spec, the note of the holder and the event log are for people: no answer depends on them."""
    known = identity(finished.path)
    (finished.path / "run" / "holder.json").write_text('{"pid": 1, "host": "that was killed"}')
    files = [finished.path / "run" / name for name in ("job.yaml", "holder.json", "events.jsonl")]
    for file, at, mask in places(files, 30, seed=23):
        copy = finished.copy(memory / "out")
        flip(copy / file.relative_to(finished.path), at, mask)
        assert resumed(copy, known, finished.rows) == set()
        assert verify_folder(copy) == []


@pytest.mark.slow
@pytest.mark.parametrize("what", ["results/*", "failures/*", "run/index/*", "run/manifest.json", "run/journal-*"])
def test_damage_through_the_command_line(world, request, what):
    """`wai status --verify` ends with 10 and names the file; a run refuses too, or asks again for what was hit."""
    it = request.getfixturevalue("killed" if "journal" in what else "finished")
    file = files_of(it.path, what)[0]
    flip(file, file.stat().st_size // 2, 4)
    told = world.wai("status", "job.yaml", "--verify", code=10)
    assert file.name in told.said
    assert told.out.count(f"{file.name}: ") <= 1, "one line a file"
    before = {each: each.read_bytes() for kind in KINDS for each in files_of(it.path, f"{kind}/*")}
    world.emulator.reset()
    world.faults({"fault": "5004", "match": "poison"})
    ran = world.wai("run", "job.yaml", "--json", code=None)
    if what.startswith("run/journal"):
        assert ran.code == 4
        assert "1 damaged place in a journal: the records there are pending" in ran.err
        assert ran.json["records"]["done"] == N - len(FAILING)
        world.check_once([f"r{n:05}" for n in range(N)])
        assert world.wai("status", "job.yaml", "--verify", "--json").json["problems"] == []
        return
    assert world.requests == 0
    assert all(each.read_bytes() == old for each, old in before.items())
    if what.startswith("run/"):
        assert ran.code == 10
        assert file.name in ran.err
        # the way out that is offered keeps what is there
        assert world.wai("run", "job.yaml", "--json", "--force-new", code=4).json["records"]["pending"] == 0
        (old,) = world.folder.glob("out.old-*")
        assert all((old / each.relative_to(it.path)).read_bytes() == kept for each, kept in before.items())
    else:  # parts are not read by a run that has nothing to ask; whoever asks is told
        assert ran.code == 4
        world.wai("status", "job.yaml", "--verify", code=10)


def remove(file):
    file.unlink()


def truncate(file):
    os.truncate(file, file.stat().st_size - 1)


def link(file):
    elsewhere = file.parents[2] / f"moved-{file.name}"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def empty(file):
    file.write_bytes(b"")


def newer(file):
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"format_version": 99, "written_by": "wai 9"}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "breaks", "says"),
    [
        ("results/part-00000.parquet", remove, "missing"),
        ("results/part-00000.parquet", truncate, "bytes where the manifest says"),
        ("results/part-00000.parquet", link, "not a plain file"),
        ("failures/part-00000.parquet", remove, "missing"),
        ("run/index/results-00000.idx", remove, "missing"),
        ("run/index/results-00000.idx", truncate, "damaged"),
        ("run/index/results-00000.idx", link, "not a plain file"),
        ("run/manifest.json", remove, "missing"),
        ("run/manifest.json", truncate, "start over with --force-new"),
        ("run/manifest.json", empty, "start over with --force-new"),
        ("run/manifest.json", newer, "use the version that wrote it, or a newer one"),
    ],
)
def test_a_file_that_is_not_what_it_was(world, finished, what, breaks, says):
    """Gone, cut, behind a link, of a newer version: exit 10, the file and what to do; nothing is changed or sent."""
    file = finished.path / what
    breaks(file)
    before = contents(world.folder)
    asked = world.requests
    ran = world.wai("run", "job.yaml", "--json", code=10)
    assert what in ran.err
    assert says in ran.err
    assert world.requests == asked
    assert contents(world.folder) == before
    told = world.wai("status", "out", "--verify", code=None)
    assert told.code == (2 if (what, breaks) == ("run/manifest.json", remove) else 10), told.said


def contents(folder):
    """Every file and link below a folder, but for what each start writes anew and the ledger."""
    ours = {"lock", "holder.json"}
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if (path.is_file() or path.is_symlink()) and path.name not in ours and not path.name.startswith("ledger")
    }


@pytest.mark.parametrize("name", ["run", "results", "failures", "media", "run/index"])
@pytest.mark.parametrize("obstacle", ["file", "link"])
def test_a_folder_that_is_something_else(world, name, obstacle):
    """A file or a link that leads away where a folder of ours belongs: exit 2, named; nothing is written through it."""
    job(world)
    world.run("job.yaml", "--limit", "5")
    folder, outside = world.folder / "out" / name, world.folder / "outside"
    folder.rename(outside)
    if obstacle == "file":
        folder.write_text("mine")
    else:
        folder.symlink_to(outside)
    before = contents(world.folder)
    asked = world.requests
    ran = world.wai("run", "job.yaml", "--json", code=2)
    assert f"out/{name}" in ran.err
    assert ("is not a folder" if obstacle == "file" else "leads out of") in ran.err
    assert contents(world.folder) == before
    assert world.requests == asked


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("events.jsonl", 0),
        ("scan", 0),
        ("holder.json", 0),
        ("job.yaml", 0),
        ("tmp-manifest.json", 0),
        ("journal-000001.wal", None),
        ("lock", None),
        ("queue.jsonl", 2),
        ("pieces.sqlite3", 2),
    ],
)
def test_a_link_where_a_file_of_ours_belongs(world, name, code):
    """Whatever lies behind it, nothing is written there: the run goes on without it, or refuses and names it."""
    job(world)
    world.run("job.yaml", "--limit", "5")
    file, outside = world.folder / "out" / "run" / name, world.folder / "precious"
    outside.write_text("precious")
    file.unlink(missing_ok=True)
    file.symlink_to(outside)
    ran = world.wai("run", "job.yaml", code=code)
    assert outside.read_text() == "precious"
    assert ran.code == 0 or f"out/run/{name}" in ran.err, ran.said
    assert ran.code in {0, 2, 10, 14}


def test_an_output_path_that_is_a_link(world):
    """A link to a folder on another disk is used as that folder; --force-new moves the link, not what it leads to."""
    job(world)
    disk = world.folder / "disk"
    disk.mkdir()
    (world.folder / "out").symlink_to(disk)
    world.run("job.yaml", "--limit", "5")
    assert (disk / "run" / "manifest.json").is_file()
    world.wai("status", "job.yaml", "--verify")
    before = contents(disk)
    world.run("job.yaml", "--limit", "5", "--force-new")
    assert contents(disk) == before
    assert not (world.folder / "out").is_symlink()


def test_an_output_path_that_is_a_link_to_nothing(world):
    """A dangling link: exit 2, named; nothing is sent and nothing appears where it leads."""
    job(world)
    (world.folder / "out").symlink_to(world.folder / "nowhere")
    ran = world.wai("run", "job.yaml", "--json", code=2)
    assert "out: " in ran.err
    assert not (world.folder / "nowhere").exists()
    assert world.requests == 0


@pytest.mark.slow
@pytest.mark.parametrize("where", ["anywhere", "rows"])
@pytest.mark.parametrize("flips", [FLIPS, pytest.param(1_000, marks=TORTURE)])
def test_a_flipped_bit_in_the_ledger(world, memory, where, flips):
    """A flip is refused with what to do, or changes nothing that counts; it never ends in a crash."""
    job(world)
    for number in range(3):
        world.run("job.yaml", "--set", f"output.path=out{number}")
    original = world.folder / "state" / "ledger.sqlite3"
    truth = figures(original)
    outcomes = Counter()
    data = original.read_bytes()
    named = [match.start() for match in re.finditer(ACCOUNT.encode(), data)]
    rows = [at for start in named for at in range(start - 30, min(len(data), start + 180))]
    rng = random.Random(24)
    for _ in range(flips):
        at = rng.randrange(len(data)) if where == "anywhere" else rng.choice(rows)
        mask = 1 << rng.randrange(8)
        path = memory / "ledger.sqlite3"
        for old in memory.glob("ledger.sqlite3*"):
            old.unlink()
        shutil.copy(original, path)
        flip(path, at, mask)
        try:
            told = figures(path)
        except LedgerError:
            outcomes["refused"] += 1
            continue
        outcomes["harmless" if told == truth else "books_less" if told[0] < truth[0] else "other_change"] += 1
    assert outcomes["books_less"] == 0
    figure("ledger_flips", where=where, flips=flips, size=original.stat().st_size, **outcomes)


def figures(path):
    with Ledger(path, SystemClock()) as ledger:
        today = ledger.totals(ACCOUNT, ledger.day(ACCOUNT))
        rows = [
            (row.account, row.day, row.job_id, row.settled, row.reserved, row.leased, row.assumed)
            for row in ledger.report()
        ]
        return today.spent + today.reserved + today.leased, rows


def test_flip_spans_match_the_format():
    """The sizes that the journal test counts with are those of the format."""
    assert struct.calcsize("<8sHI") + 4 == 18
    assert struct.calcsize("<4sIIBI") == 17
    assert issubclass(OutputDamaged, OutputError)
