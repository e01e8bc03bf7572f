"""What a power cut leaves: only what was synced is sure, of everything else any part may have reached the disk.

Pessimistic as the POSIX text is, not as ext4 happens to be: a file keeps what its last sync covered and any part of
what came after it, or zeros in its place; a folder keeps the names of its last sync, and of every later change (a new
file, a rename, a removal) it is open whether it is there, each for itself.
"""

import contextlib
import os
from dataclasses import dataclass

from pipeline.storage.disk import Disk


@dataclass(frozen=True)
class Moment:
    """The folder after an operation.

    Attributes:
        label: The operation.
        synced: Bytes of each file that its last sync covered, by inode.
        named: Names in each folder as of its last sync: name to inode; by inode of the folder.
        sizes: Size of each file as the kernel has it.
        seen: Names in each folder as the kernel has them.
        known: What the test knew then.
    """

    label: str
    synced: dict
    named: dict
    sizes: dict
    seen: dict
    known: object

    @property
    def open_changes(self):
        """How many names and files are not as they were synced."""
        names = sum(
            self.named.get(folder, {}).get(name) != child
            for folder, names in self.seen.items()
            for name, child in names.items()
        )
        gone = sum(name not in self.seen.get(folder, {}) for folder, names in self.named.items() for name in names)
        return names + gone + sum(self.synced.get(inode, 0) != size for inode, size in self.sizes.items())


class RecordingDisk(Disk):
    """Works as any disk, and remembers after each operation what was durable.

    Args:
        base: The folder that is there from the start; what is written lies below.
        attic: A folder of the same file system: every file is kept there under its inode, so that none is used twice.
        known: Asked after each operation what the test knows by then.
    """

    def __init__(self, base, attic, known=lambda: None):
        self._base, self._attic, self._known = base, attic, known
        self._synced, self._named = {}, {}
        self._folders = set()
        self.moments = []

    def run(self, operation, effect):
        """Let it take effect; note what is durable now."""
        result = effect()
        path = operation.path
        if operation.name == "create":
            with contextlib.suppress(FileExistsError):  # a name that was there is emptied
                os.link(path, self._attic / str(path.stat().st_ino))
        elif operation.name in {"fsync", "fdatasync"}:
            self._synced[path.stat().st_ino] = path.stat().st_size
        elif operation.name == "dirsync":
            self._named[path.stat().st_ino] = names_in(path)
        seen, sizes = {}, {}
        for folder in [self._base, *(each for each in self._base.rglob("*") if each.is_dir())]:
            self._folders.add(folder.stat().st_ino)
            seen[folder.stat().st_ino] = names_in(folder)
            sizes |= {entry.inode(): entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()}
        label = f"{operation.name} {path.relative_to(self._base)}"
        moment = Moment(label, dict(self._synced), dict(self._named), sizes, seen, self._known())
        self.moments.append(moment)
        return result

    def leave(self, moment, target, rng, chance):
        """Write into `target` what a power cut at this moment may leave; each open change is there with this chance."""
        coins = {}

        def is_there(inode):
            """Of a rename both names change, or neither."""
            return coins.setdefault(inode, rng.random() < chance)

        def content(inode):
            synced = moment.synced.get(inode, 0)
            size = moment.sizes.get(inode, synced)
            data = (self._attic / str(inode)).read_bytes()[:size]
            if size <= synced or not is_there(inode):
                return data[:synced]
            reached = rng.randint(synced, size)
            return data[:reached] + bytes(rng.choice([0, size - reached]))

        def put(inode, place):
            place.mkdir()
            old, new = moment.named.get(inode, {}), moment.seen.get(inode, {})
            for name in sorted(old.keys() | new.keys()):
                before, after = old.get(name), new.get(name)
                child = after if before == after or is_there(after or before) else before
                if child in self._folders:
                    put(child, place / name)
                elif child is not None and (self._attic / str(child)).exists():
                    (place / name).write_bytes(content(child))

        put(self._base.stat().st_ino, target)


def names_in(folder):
    """Name to inode."""
    return {entry.name: entry.inode() for entry in os.scandir(folder)}
