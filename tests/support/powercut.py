"""A disk that knows what a power cut at this moment may leave of it: by POSIX, not by the kindness of one file system.

Data of a file is sure once the file is synced, a name once its folder is; until then each change of a name may have
come through or not, whatever became of the others, and data may be missing, cut or zeros.
"""

from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path

from pipeline.storage.disk import Disk


@dataclass(eq=False)
class Node:
    """A file, by whatever name.

    Attributes:
        data: As a reader sees it.
        durable: What of it is sure.
    """

    data: bytes = b""
    durable: bytes = b""

    def left(self, spoilt):
        """What is there after the cut: `spoilt` says what became of data that was not synced."""
        lost = len(self.data) - len(self.durable)
        if not self.data.startswith(self.durable):
            raise AssertionError("files are only appended to")
        match spoilt:
            case "missing":
                return self.durable
            case "torn":
                return self.data[: len(self.durable) + lost // 2]
            case "zeros":
                return self.durable + bytes(lost)
            case _:
                return self.data


SPOILT = ("missing", "zeros", "torn", "written")
FOLDER = Node()


@dataclass(frozen=True)
class Change:
    """Of a name: `source` goes (None: nothing), `target` comes and is `node` (None: nothing)."""

    folder: Path
    source: Path | None
    target: Path | None
    node: Node | None

    def to(self, names):
        if self.source is not None:
            names.pop(self.source, None)
        if self.target is not None:
            names[self.target] = self.node


class MortalDisk(Disk):
    """Works as any other, and calls `looked` after each operation.

    Args:
        root: Everything below is watched; it is there for good.
        looked: Takes this disk and the operation.
    """

    def __init__(self, root, looked):
        self.root, self._looked = root, looked
        self._names, self._pending, self._open = {root: FOLDER}, [], {}
        self._current = {root: FOLDER}

    def run(self, operation, effect):
        done = effect()
        self._note(operation, done)
        self._looked(self, operation)
        return done

    def rename(self, source, target, *, replace):
        self._source = source
        super().rename(source, target, replace=replace)

    def write(self, fd, data, path):
        self._open[fd].data += bytes(data)
        super().write(fd, data, path)

    def fsync(self, fd, path):
        super().fsync(fd, path)
        self._synced(path)

    def fdatasync(self, fd, path):
        super().fdatasync(fd, path)
        self._synced(path)

    def _synced(self, path):
        node = self._current[path]  # by its name: a journal of an earlier life is opened anew
        node.durable = node.data

    def _note(self, operation, done):
        path = operation.path
        match operation.name:
            case "mkdir":
                for folder in [*reversed(path.parents), path]:
                    if folder.is_relative_to(self.root) and folder not in self._current:
                        self._change(folder.parent, None, folder, FOLDER)
            case "create":
                node = self._open[done] = Node()
                self._change(path.parent, None, path, node)
            case "rename":
                self._change(path.parent, self._source, path, self._current[self._source])
            case "unlink" if path in self._current:
                self._change(path.parent, path, None, None)
            case "dirsync":
                for change in [change for change in self._pending if change.folder == path]:
                    change.to(self._names)
                    self._pending.remove(change)

    def _change(self, folder, source, target, node):
        change = Change(folder, source, target, node)
        change.to(self._current)
        self._pending.append(change)

    def states(self, *, thorough):
        """Every tree that a cut may leave now: {relative path: content, None for a folder}.

        Args:
            thorough: Every choice of names that came through (of eight and fewer) and every fate of data; else none,
                the last alone and all, and data missing or zeros.
        """
        for chosen in self._choices(thorough=thorough):
            names = dict(self._names)
            for change in chosen:
                change.to(names)
            reached = {path: node for path, node in names.items() if self._is_reached(path, names)}
            is_sure = all(node.data == node.durable for node in reached.values())
            for spoilt in SPOILT[:1] if is_sure else SPOILT if thorough else SPOILT[:2]:
                yield {
                    str(path.relative_to(self.root)): None if node is FOLDER else node.left(spoilt)
                    for path, node in reached.items()
                    if path != self.root
                }

    def _choices(self, *, thorough):
        pending = self._pending
        if thorough and len(pending) <= 8:
            return chain.from_iterable(combinations(pending, size) for size in range(len(pending) + 1))
        alone = [(change,) for change in (pending if thorough else pending[-1:])]
        return [(), *alone, *([tuple(pending)] if len(pending) > 1 else [])]

    def _is_reached(self, path, names):
        return all(names.get(parent) is FOLDER for parent in path.parents if parent.is_relative_to(self.root))


def lay_out(state, root):
    """Make the tree of a state under a folder that is new."""
    root.mkdir()
    for name in sorted(state):
        if state[name] is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(state[name])
