"""What a run says: waited for where it is a result, dropped where nobody takes it at once (P8)."""

import contextlib
import os
import threading

import pytest

from pipeline.cli.streams import _Voice
from pipeline.errors import OutputUnwritable


@pytest.fixture
def full():
    """A pipe that takes nothing more; its two ends."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_what_nobody_takes_at_once_is_dropped(full):
    """A paused terminal does not hold up the run."""
    voice = _Voice(full[1], "stderr", matters=False)
    speaking = threading.Thread(target=voice.write, args=(b"a line\n",), daemon=True)
    speaking.start()
    speaking.join(5)
    is_stuck = speaking.is_alive()
    os.read(full[0], 1 << 20)  # lets a stuck one go
    speaking.join(5)
    assert not is_stuck
    assert voice.write(b"heard\n") == 6
    os.set_blocking(full[0], False)
    assert os.read(full[0], 100) == b"heard\n"


def test_a_result_waits_for_its_reader(full):
    """Nothing of it is lost."""
    voice = _Voice(full[1], "stdout", matters=True)
    speaking = threading.Thread(target=voice.write, args=(b"{}\n",))
    speaking.start()
    taken = b""
    while not taken.endswith(b"{}\n"):
        taken += os.read(full[0], 1 << 20)
    speaking.join(5)
    assert not speaking.is_alive()


@pytest.mark.parametrize("matters", [True, False])
def test_readers_that_are_gone_end_nothing(matters):
    """A closed pipe: what is said from then on goes nowhere."""
    reading, writing = os.pipe()
    os.close(reading)
    voice = _Voice(writing, "stdout", matters=matters)
    assert [voice.write(b"word"), voice.write(b"another")] == [4, 7]
    os.close(writing)


def test_a_result_that_cannot_be_kept_is_an_error():
    """A file on a full disk: somebody wants it. What does not matter is dropped there too."""
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OutputUnwritable, match="stdout: disk full"):
        _Voice(fd, "stdout", matters=True).write(b"{}\n")
    assert _Voice(fd, "stderr", matters=False).write(b"word\n") == 5
    os.close(fd)
