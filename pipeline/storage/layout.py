"""Where everything lies in an output folder (design, section 5). Names only, no I/O but looking.

    results/part-00000.parquet   failures/part-00000.parquet   media/
    run/{job.yaml, manifest.json, events.jsonl, events.jsonl.1, scan, lock, holder.json, journal-<gen>.wal,
         pieces.sqlite3, queue.jsonl, tmp-*, staged-*}
    run/index/{results,failures}-00000.idx

Temporaries live in ``run/``: the same file system, so that a rename is atomic, and not where results are read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

RESULTS: Final = "results"
FAILURES: Final = "failures"
KINDS: Final = (RESULTS, FAILURES)
PART_NAME: Final = re.compile(r"part-(\d{5,9})\.parquet")
_JOURNAL_NAME: Final = re.compile(r"journal-(\d{6,12})\.wal")
# What may be in run/ before the first manifest exists: leftovers of a start that was killed.
_BEFORE_MANIFEST: Final = re.compile(r"lock|holder\.json|job\.yaml|events\.jsonl|index|tmp-.*")


class Layout:
    """Paths of one output folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run = root / "run"
        self.index = self.run / "index"
        self.media = root / "media"
        self.manifest = self.run / "manifest.json"
        self.job_yaml = self.run / "job.yaml"
        self.scan = self.run / "scan"
        self.pieces = self.run / "pieces.sqlite3"
        self.lock = self.run / "lock"
        self.holder = self.run / "holder.json"

    def __repr__(self) -> str:
        return f"Layout({str(self.root)!r})"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder of the layout, parents first."""
        return (self.root, self.run, self.index, self.root / RESULTS, self.root / FAILURES, self.media)

    def folder(self, kind: str) -> Path:
        """Folder of the parts of `kind`."""
        return self.root / kind

    def part(self, kind: str, name: str) -> Path:
        """A published part."""
        return self.root / kind / name

    def sidecar(self, name: str) -> Path:
        """The key index of a part."""
        return self.index / name

    def journal(self, generation: int) -> Path:
        """A journal."""
        return self.run / f"journal-{generation:06d}.wal"

    def temporary(self, name: str) -> Path:
        """A file being written; swept at the next open."""
        return self.run / f"tmp-{name}"

    def staged(self, name: str) -> Path:
        """A finished part that waits for the manifest before it replaces its older self."""
        return self.run / name

    def current(self, kind: str, name: str, staged: str | None) -> Path:
        """The file that holds a part: what is about to replace it, if that is still there."""
        waiting = self.staged(staged) if staged is not None else None
        return waiting if waiting is not None and waiting.exists() else self.part(kind, name)

    def generations(self) -> list[int]:
        """Journals on disk, oldest first."""
        if not self.run.is_dir():
            return []
        found = (_JOURNAL_NAME.fullmatch(entry.name) for entry in self.run.iterdir())
        return sorted(int(match.group(1)) for match in found if match)

    def is_fresh(self) -> bool:
        """Whether the folder is missing, empty, or holds only what a start killed before its manifest leaves."""
        if not self.root.exists():
            return True
        for entry in self.root.iterdir():
            if entry.name not in {"run", RESULTS, FAILURES, "media"} or not entry.is_dir():
                return False
            inside = [child.name for child in entry.iterdir()]
            if inside and entry.name != "run":
                return False
            if entry.name == "run" and not all(_BEFORE_MANIFEST.fullmatch(name) for name in inside):
                return False
        return not self.index.is_dir() or not any(self.index.iterdir())


def part_name(number: int) -> str:
    """Name of the part with this number."""
    return f"part-{number:05d}.parquet"


def part_number(name: str) -> int:
    """Number in a part's name."""
    match = PART_NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"not a part: {name}")
    return int(match.group(1))
