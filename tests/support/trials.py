"""One job, killed as often as one likes, and what must hold after each kill and at the end."""

import json
import time
from collections import Counter
from contextlib import ExitStack, closing

import pyarrow.parquet as pq

from pipeline.budget import Ledger
from pipeline.clock import SystemClock
from pipeline.emulator.models import find_model
from pipeline.emulator.tasks.base import input_digest
from pipeline.errors import OutputDamaged
from pipeline.records import digest
from pipeline.storage import AnswerFile, verify_folder
from pipeline.storage.journal import JournalReader
from pipeline.storage.layout import KINDS, RESULTS, Layout
from pipeline.storage.manifest import read_manifest
from tests.support.cli import ACCOUNT
from tests.support.crashing import Order

UNSAVED = 1
"""Requests sent and not yet durable, on the wire or on their way to disk, for each of `limits.concurrency`."""

BOOKED = 1.005
_COLUMNS = ("id", "input", "chunk", "n_chunks")
LEFT_IN_RUN = {"job.yaml", "manifest.json", "events.jsonl", "lock", "index", "scan"}


def names(folder):
    return {path.name for path in folder.iterdir()}


class Trial:
    """Lives of one job in one world, judged by the emulator's request log.

    Args:
        world: Folder and emulator; its spec writes to out/ and includes the input.
        lives: The server of lives.
        log: The emulator's request log.
        model: The model of the spec.
        texts: What is sent for each record id: a text, or a tuple of the chunks of one.
        in_flight: Texts that may be in flight at once: concurrency x batch size.
        repeats_failures: The lives may send failed records again.
    """

    def __init__(self, world, lives, log, *, model, texts, in_flight, repeats_failures=False):
        self.world = world
        self.texts = {name: text if isinstance(text, tuple) else (text,) for name, text in texts.items()}
        self.layout = Layout(world.folder / "out")
        self._lives, self._log, self._model = lives, log, find_model(model)
        self._repeats_failures = repeats_failures
        self._digests = {}
        self._whole = {}
        self.bound = UNSAVED * in_flight
        self._log_at = log.stat().st_size if log.exists() else 0
        self._booked_before = self.booked()
        self._files_before = names(world.folder)
        self.metered = 0.0
        self.asked = Counter()
        self.kills = 0
        self.spoiled = 0
        self.unsaved = []
        self.kept = self._kept()
        self._durable = self._durable_now()

    # -- lives ------------------------------------------------------------------------------------------------------

    def live(self, **order):
        """Live once; check what is on disk after a kill."""
        return self.check(self.lived(**order))

    def lived(self, **order):
        """Live once; `check` is for the caller."""
        return self._lives.live(
            Order(cwd=str(self.world.folder), env=self.world.env, spec=str(self.world.folder / "job.yaml"), **order)
        )

    def check(self, life):
        """Compare what a life left with what was there before it, and with what it asked for."""
        self._settle()
        paid = self._note_log()
        again = paid & self._durable
        assert not again, f"{len(again)} texts were asked for again although their answers were kept"
        if life.was_killed:
            self.kills += 1
            self.check_files()
        before, self.kept = self.kept, self._kept()
        if not self._repeats_failures:
            lost = before.keys() - self.kept.keys()
            assert not lost, f"{len(lost)} rows that were kept are gone"
        self._durable = self._durable_now()
        if life.was_killed:
            self.unsaved.append(len(paid - self._durable))
            assert self.unsaved[-1] <= self.bound, f"{self.unsaved[-1]} answers paid and not kept"
        self.check_book()
        return life

    def damaged(self):
        """What is kept was changed from outside: what has gone may be asked for again."""
        before = self._durable
        self.kept, self._durable = self._kept(), self._durable_now()
        self.spoiled += len(before - self._durable)

    def _settle(self):
        """Wait until the emulator has nothing left to do: what the dead had sent is metered all the same."""
        deadline = time.monotonic() + 15.0
        before, is_idle = -1, False
        while not is_idle:
            stats = self.world.stats()
            total = stats["requests"]["total"]
            is_idle = stats["running"] == 0 and total == before
            before = total
            assert time.monotonic() < deadline, "the emulator does not come to rest"

    def _note_log(self):
        """Read what is new in the request log; returns the digests that were metered."""
        with self._log.open("rb") as file:
            file.seek(self._log_at)
            lines = file.read().splitlines()
            self._log_at = file.tell()
        asked = Counter()
        for line in lines:
            entry = json.loads(line)
            asked.update(entry["inputs"])
            self.metered += entry["neurons"] or 0.0
        self.asked.update(asked)
        return asked.keys()

    # -- what is on disk --------------------------------------------------------------------------------------------

    def _kept(self):
        """Record id -> (kind, texts that were sent) of all that the next life will count as settled; none in part."""
        manifest = read_manifest(self.layout)
        if manifest is None:
            return {}
        batches = []
        for kind in KINDS:
            for entry in manifest.parts(kind):
                path = self.layout.part(kind, entry.name)
                if entry.staged is not None and self.layout.staged(entry.staged).exists():
                    path = self.layout.staged(entry.staged)
                batches += [(kind, batch) for batch in self._rows(path).to_batches()]
        for number in self.layout.generations():
            if number >= manifest.journal_floor:
                for frame in JournalReader(self.layout.journal(number)):
                    batches.append((RESULTS if frame.is_result else "failures", frame.batch()))
        found = [(name, (kind, texts)) for kind, batch in batches for name, texts in self._records(kind, batch).items()]
        kept = dict(found)
        assert len(kept) == len(found), "a record is kept twice"
        return kept

    def _records(self, kind, batch):
        """Record id -> its texts, of a batch or a part that holds all rows of each of its records."""
        if kind != RESULTS:
            return {name: self.texts[name] for name in batch["id"].to_pylist()}
        if "chunk" not in batch.schema.names:
            return {
                name: (text,) for name, text in zip(*(batch[name].to_pylist() for name in _COLUMNS[:2]), strict=True)
            }
        found, is_whole = {}, True
        columns = (batch[name].to_pylist() for name in ("id", "input", "chunk", "n_chunks"))
        for name, text, number, n_chunks in zip(*columns, strict=True):
            assert (number == 0) is is_whole, "rows of a record are missing"
            is_whole = number == n_chunks - 1
            found[name] = (text,) if number == 0 else (*found[name], text)
            assert len(found[name]) == number + 1, "rows of a record are there twice"
        assert is_whole, "rows of a record are missing"
        return found

    def _durable_now(self):
        """Digests of what need not be asked again: chunks of unfinished records among them."""
        settled = {
            self.digest(text)
            for kind, texts in self.kept.values()
            if kind == RESULTS or not self._repeats_failures
            for text in texts
        }
        chunks = [text for texts in self.texts.values() if len(texts) > 1 for text in texts]
        with closing(AnswerFile(self.layout.run / "pieces.sqlite3")) as answers:
            try:
                known = answers.recall([digest(text.encode()) for text in chunks])
            except OutputDamaged:
                known = {}
        return settled | {self.digest(text) for text in chunks if digest(text.encode()) in known}

    def digest(self, text):
        if text not in self._digests:
            self._digests[text] = input_digest(self._model, text.encode()).hex()
        return self._digests[text]

    def _rows(self, path):
        """Ids, inputs and chunks of a part, every page of which is read and checked once."""
        status = path.stat()
        key = (path.name, path.parent.name, status.st_ino, status.st_mtime_ns, status.st_size)
        if key not in self._whole:
            table = pq.ParquetFile(path, page_checksum_verification=True).read(use_threads=False)
            self._whole[key] = table.select([name for name in _COLUMNS if name in table.column_names])
        return self._whole[key]

    def check_files(self):
        """Every Parquet file that a reader would find is whole, and no id is in two of them."""
        ids = []
        for kind in KINDS:
            folder = self.layout.folder(kind)
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                assert path.name.startswith("part-"), path
                ids += [name for batch in self._rows(path).to_batches() for name in self._records(kind, batch)]
        assert len(ids) == len(set(ids)), "an id is in two places"

    def booked(self):
        """Neurons the ledger counts as gone, leases of the living and the dead included."""
        path = self.world.folder / "state" / "ledger.sqlite3"
        if not path.exists():
            return 0.0
        with Ledger(path, SystemClock()) as ledger:
            return sum(row.settled + row.reserved + row.leased + row.assumed for row in ledger.report(ACCOUNT))

    def check_book(self):
        """The meter is never above the book."""
        booked = self.booked() - self._booked_before
        assert self.metered <= booked * BOOKED, f"{self.metered} metered, {booked} booked"

    # -- the end ----------------------------------------------------------------------------------------------------

    @property
    def repeated(self):
        """Answers that were paid for more than once."""
        return sum(count - 1 for count in self.asked.values())

    def finish(self, *, failed=frozenset(), **order):
        """Resume to the end without a kill, and check everything. Returns the report."""
        return self.finished(self.live(**order), failed=failed)

    def finished(self, life, *, failed=frozenset()):
        """Check everything after a life that came to the end. Returns the report."""
        assert life.code == (4 if failed else 0), life
        assert life.report["records"] == {
            "total": len(self.texts),
            "done": len(self.texts) - len(failed),
            "failed": len(failed),
            "pending": 0,
        }
        assert self.kept == {
            name: ("failures" if name in failed else RESULTS, texts) for name, texts in self.texts.items()
        }
        self.check_files()
        assert self.asked.keys() <= {self.digest(text) for texts in self.texts.values() for text in texts}
        assert self.repeated <= self.kills * self.bound + self.spoiled
        assert verify_folder(self.layout.root) == []
        self._check_leftovers(failed)
        return life.report

    def _check_leftovers(self, failed):
        manifest = read_manifest(self.layout)
        has_pieces = any(len(texts) > 1 for texts in self.texts.values())
        # kept for as long as a failure may be sent again
        spare = {"pieces.sqlite3", "pieces.sqlite3.damaged"} if failed and has_pieces else set()
        assert names(self.layout.run) - spare == LEFT_IN_RUN
        assert names(self.layout.index) == {entry.index for kind in KINDS for entry in manifest.parts(kind)}
        for kind in KINDS:
            assert names(self.layout.folder(kind)) == {entry.name for entry in manifest.parts(kind)}
        assert names(self.layout.root) == {"run", "media", *KINDS}
        assert not names(self.layout.media)
        assert names(self.world.folder) == self._files_before | {"out", "state"}

    def figures(self):
        """What docs may quote; after `finish`."""
        parts = [path for kind in KINDS for path in self.layout.folder(kind).iterdir()]
        ids = [name for path in parts for name in self._rows(path)["id"].to_pylist()]
        return {
            "kills": self.kills,
            "records": len(self.texts),
            "rows_lost": len(self.texts.keys() - set(ids)),
            "rows_doubled": len(ids) - len(set(ids)),
            "texts_paid_twice": self.repeated,
            "texts_paid_twice_per_kill": round(self.repeated / max(1, self.kills), 2),
            "most_unsaved_at_a_kill": max(self.unsaved, default=0),
            "unsaved_bound": self.bound,
            "neurons_metered": round(self.metered, 3),
            "neurons_booked": round(self.booked() - self._booked_before, 3),
        }


def contents(folder, columns):
    """The rows of an output, in the order of their ids."""
    with ExitStack() as stack:
        files = [stack.enter_context(pq.ParquetFile(path)) for path in sorted(folder.glob("*.parquet"))]
        rows = [row for file in files for row in file.read(columns, use_threads=False).to_pylist()]
    return sorted(rows, key=lambda row: row["id"])
