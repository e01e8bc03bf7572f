"""Makes stdin readable more than once: what is read goes to a private temporary file first.

Readers follow the file and pull from stdin only at its end, so a reading that stops early (``limit``) leaves the rest
of stdin alone, and a later one goes on from there. Takes a binary stream, hands on chunks. Deletes its file on `close`
and, if that is forgotten, when the interpreter ends.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, Final

_CHUNK_BYTES: Final = 64 * 1024


class Spool:
    """A stream that can be read again.

    Args:
        stream: Read once, front to back.
        folder: Where the temporary file is made; None for the system's folder.
    """

    def __init__(self, stream: BinaryIO, folder: Path | None) -> None:
        self._stream = stream
        # Unread bytes of stdin must not wait in a buffer of ours: a second reader looks at the file only.
        self._file = tempfile.NamedTemporaryFile(dir=folder, prefix="wai-stdin-", buffering=0, delete=False)  # noqa: SIM115
        self.path = Path(self._file.name)
        self._size = 0
        self._ended = False
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _remove, self._file, self.path)

    def chunks(self) -> Iterator[bytes]:
        """Yield the whole stream from its start, in chunks of up to 64 KiB."""
        with self.path.open("rb") as copy:
            while True:
                if chunk := copy.read(_CHUNK_BYTES):
                    yield chunk
                elif not self._pull(copy.tell()):
                    return

    def drain(self) -> Path:
        """Take in the rest of the stream; return the complete file."""
        while self._pull(self._size):
            pass
        return self.path

    def close(self) -> None:
        """Delete the file. Idempotent."""
        self._finalizer()

    def _pull(self, position: int) -> bool:
        """Make the file longer than `position` bytes; False when the stream has no more."""
        with self._lock:
            if self._size > position:
                return True
            if self._ended:
                return False
            # read1 hands over what has arrived: a slow pipe is not held back until 64 KiB are there.
            read = getattr(self._stream, "read1", self._stream.read)
            chunk: bytes = read(_CHUNK_BYTES)
            self._ended = not chunk
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._size += len(chunk)
            return bool(chunk)


def _remove(file: IO[bytes], path: Path) -> None:
    file.close()
    path.unlink(missing_ok=True)
