"""What happens before a store may be used: refuse what is not ours, finish what a crash left half done, sweep the rest.

Every step may itself be cut off and is then simply done again by the next open.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pipeline.errors import OutputDamaged, OutputUnusable
from pipeline.storage.disk import Disk
from pipeline.storage.index import KEY_BYTES, Words, first_rows, words_of
from pipeline.storage.journal import JournalReader
from pipeline.storage.layout import KINDS, PART_NAME, Layout, part_number
from pipeline.storage.manifest import Manifest

# Files in run/ that other rooms open by name and write into; those of this one are never written through a link.
_NOT_OURS: Final = ("pieces.sqlite3", "queue.jsonl")
_ADVICE: Final = (
    "restore it from a copy, or start over with --force-new (the folder is moved aside, nothing is deleted)"
)


@dataclass(slots=True)
class Generation:
    """A live journal: its rows are in no part yet.

    Attributes:
        number: Generation.
        size: Bytes of frames.
        result_keys: Id and payload key of its result rows, 32 bytes each.
        failure_keys: The same for failure rows.
        results: Records that its result rows belong to.
    """

    number: int
    size: int = 0
    result_keys: bytearray = field(default_factory=bytearray)
    failure_keys: bytearray = field(default_factory=bytearray)
    results: int = 0

    @property
    def failures(self) -> int:
        """Records that failed."""
        return len(self.failure_keys) // KEY_BYTES

    def result_words(self) -> Words:
        """Keys of its results, one row a record."""
        words = words_of(self.result_keys)
        return words if len(words) == self.results else words[first_rows(words)]

    @property
    def rows(self) -> int:
        """Result and failure rows."""
        return (len(self.result_keys) + len(self.failure_keys)) // KEY_BYTES


@dataclass(frozen=True, slots=True)
class Recovery:
    """What `Store.open` found.

    Attributes:
        rows: Rows read back from journals.
        damaged_frames: Damaged places in journals; their rows are pending again and will be paid again.
        swept: Files removed that belonged to nothing.
    """

    rows: int = 0
    damaged_frames: int = 0
    swept: tuple[str, ...] = ()


def check_place(layout: Layout) -> None:
    """Refuse a path that is no folder, a folder that is not ours, and folders that lead out of it.

    Raises:
        OutputUnusable: With what to do.
        OutputDamaged: There are answers, and nothing says what they are.
    """
    root = layout.root
    if os.path.lexists(root) and not root.is_dir():
        raise OutputUnusable(f"{root}: is a file; output.path names a folder")
    for folder in layout.folders[1:]:
        if not os.path.lexists(folder):
            continue
        if not folder.is_dir():
            raise OutputUnusable(f"{folder}: is not a folder; move it away or choose another output.path")
        if not folder.resolve().is_relative_to(root.resolve()):
            raise OutputUnusable(
                f"{folder}: leads out of {root} through a symlink; nothing is written outside output.path"
            )
    for name in _NOT_OURS:
        if (layout.run / name).is_symlink():
            raise OutputUnusable(
                f"{layout.run / name}: is a symlink; nothing is written outside output.path: remove it"
            )
    if os.path.lexists(layout.manifest) or layout.is_fresh():
        return
    if layout.generations() or parts_on_disk(layout):
        raise OutputDamaged(
            f"{layout.manifest}: missing, but there are answers beside it; restore it, or move the folder away"
        )
    raise OutputUnusable(f"{root}: holds files that are not ours, and will not be touched; choose another output.path")


def finish_replacements(disk: Disk, layout: Layout, manifest: Manifest) -> Manifest:
    """Put rewritten parts in their place: the manifest already speaks of them.

    Returns:
        The manifest without the mention of staged files, to be used from now on.
    """
    changed: dict[str, tuple[object, ...]] = {}
    for kind in KINDS:
        entries = []
        for entry in manifest.parts(kind):
            if entry.staged is not None and layout.staged(entry.staged).exists():
                disk.rename(layout.staged(entry.staged), layout.part(kind, entry.name), replace=True)
                disk.dirsync(layout.folder(kind))
            entries.append(entry.model_copy(update={"staged": None}))
        changed[kind] = tuple(entries)
    return manifest.model_copy(update=changed)


def check_parts(layout: Layout, manifest: Manifest) -> None:
    """See that every named part and sidecar is a file of its size.

    Raises:
        OutputDamaged: Names the file.
    """
    for kind in KINDS:
        for entry in manifest.parts(kind):
            for path, size in ((layout.part(kind, entry.name), entry.bytes), (layout.sidecar(entry.index), None)):
                problem = _problem(path, size)
                if problem:
                    raise OutputDamaged(f"{path}: {problem}; {_ADVICE}")


def check_journals(layout: Layout, manifest: Manifest, parts: Sequence[Path], generations: Sequence[int]) -> None:
    """See that of what the manifest does not name nothing is missing.

    Journals are numbered without a gap, and go when the manifest names the part that they became. So a part that is new
    to the manifest, and whose journals are gone, was named by a newer one: sweeping it would lose what it holds.

    Args:
        layout: The folder.
        manifest: Its manifest, read after the following were listed.
        parts: What `parts_on_disk` found.
        generations: Journals, in order.

    Raises:
        OutputDamaged: Names the file.
    """
    floor = manifest.journal_floor
    live = [number for number in generations if number >= floor]
    first_new = {kind: manifest.next_number(kind) for kind in KINDS}
    new = [part for part in _unnamed(manifest, parts) if part_number(part.name) >= first_new[part.parent.name]]
    if new and live[:1] != [floor]:
        raise OutputDamaged(
            f"{new[0]}: the manifest is older than this part and does not name it; restore the manifest that "
            "belongs to it, or start over with --force-new (the folder is moved aside, nothing is deleted)"
        )
    for expected, number in enumerate(live, floor):
        if number != expected:
            raise OutputDamaged(f"{layout.journal(expected)}: missing; {_ADVICE}")


def sweep(disk: Disk, layout: Layout, manifest: Manifest) -> list[str]:
    """Remove what no manifest names: temporaries, unpublished parts, folded journals. Returns what was removed."""
    doomed = [path for path in layout.run.iterdir() if path.name.startswith(("tmp-", "staged-"))]
    doomed += _unnamed(manifest, parts_on_disk(layout))
    sidecars = {entry.index for kind in KINDS for entry in manifest.parts(kind)}
    doomed += [path for path in layout.index.iterdir() if path.suffix == ".idx" and path.name not in sidecars]
    doomed += [layout.journal(number) for number in layout.generations() if number < manifest.journal_floor]
    for path in doomed:
        disk.unlink(path)
    return [str(path.relative_to(layout.root)) for path in doomed]


def read_journals(layout: Layout, floor: int) -> tuple[dict[int, Generation], int]:
    """Read the keys of every live journal. What was being written when a process died is dropped.

    Returns:
        The generations, damaged places.
    """
    live: dict[int, Generation] = {}
    damaged = 0
    for number in layout.generations():
        if number < floor:
            continue
        generation = live[number] = Generation(number)
        reader = JournalReader(layout.journal(number))
        for frame in reader:
            (generation.result_keys if frame.is_result else generation.failure_keys).extend(frame.keys)
            generation.results += frame.records if frame.is_result else 0
            generation.size += len(frame.keys) + len(frame.body)
        damaged += reader.damaged_frames
    return live, damaged


def secure(disk: Disk, layout: Layout, numbers: Iterable[int]) -> None:
    """Make journals of earlier runs durable: their rows count as done from now on.

    A process that was killed may have left its last rows in the page cache only.
    """
    for number in numbers:
        path = layout.journal(number)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            disk.fdatasync(fd, path)
        finally:
            os.close(fd)


def parts_on_disk(layout: Layout) -> list[Path]:
    """Every file that looks like a part, named or not."""
    folders = [folder for kind in KINDS if (folder := layout.folder(kind)).is_dir()]
    return [path for folder in folders for path in folder.iterdir() if PART_NAME.fullmatch(path.name)]


def _unnamed(manifest: Manifest, parts: Sequence[Path]) -> list[Path]:
    named = {(kind, entry.name) for kind in KINDS for entry in manifest.parts(kind)}
    return [path for path in parts if (path.parent.name, path.name) not in named]


def _problem(path: Path, size: int | None) -> str | None:
    try:
        status = path.lstat()
    except OSError as error:
        return f"missing ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return "not a plain file"
    if size is not None and status.st_size != size:
        return f"{status.st_size} bytes where the manifest says {size}"
    return None
