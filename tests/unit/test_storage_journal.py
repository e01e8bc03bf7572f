"""The journal gives back what was appended, up to where it was torn."""

import os
import struct
import zlib

import pyarrow as pa
import pytest

from pipeline.errors import OutputDamaged, OutputError
from pipeline.storage import journal as journal_room
from pipeline.storage.disk import Disk
from pipeline.storage.journal import (
    FAILURE_ROWS,
    RESULT_ROWS,
    Counted,
    JournalReader,
    JournalWriter,
    count_rows,
    encode_frame,
)


def counted(path):
    found = count_rows(path)
    return found.results + found.failures


def frame(number, rows=1, kind=RESULT_ROWS):
    batch = pa.RecordBatch.from_pydict({"n": [number] * rows})
    return encode_frame(kind, bytes([number]) * 32 * rows, batch)


@pytest.fixture
def journal(memory):
    path = memory / "journal-000007.wal"
    writer = JournalWriter(Disk(), path, 7)
    for number in range(4):
        writer.append(frame(number, number + 1, FAILURE_ROWS if number == 3 else RESULT_ROWS))
    writer.sync()
    writer.close()
    return path


def numbers(path):
    return [frame.batch().column("n")[0].as_py() for frame in JournalReader(path)]


def ends(path):
    """Offsets at which a frame ends."""
    at, found = 18, [18]
    data = path.read_bytes()
    while at < len(data):
        at += 17 + struct.unpack_from("<I", data, at + 4)[0]
        found.append(at)
    return found


def test_frames_come_back_in_order(journal):
    """Kinds, keys and batches are as they were appended."""
    frames = list(JournalReader(journal))
    assert [(f.kind, f.rows, f.keys[:1]) for f in frames] == [
        (1, 1, b"\0"),
        (1, 2, b"\1"),
        (1, 3, b"\2"),
        (2, 4, b"\3"),
    ]
    assert numbers(journal) == [0, 1, 2, 3]
    assert count_rows(journal) == Counted(6, 4, 6)


def test_a_journal_is_never_appended_to_again(journal):
    """A second writer of the same generation is refused by the operating system."""
    with pytest.raises(Exception, match="cannot be written"):
        JournalWriter(Disk(), journal, 7)


def test_a_torn_tail_at_any_byte_drops_only_the_frame_it_tears(journal):
    """Cut anywhere: whole frames stay, the rest is counted, nothing is reported as damage."""
    data, borders = journal.read_bytes(), ends(journal)
    for size in range(len(data) + 1):
        journal.write_bytes(data[:size])
        reader = JournalReader(journal)
        whole = max([0] + [i for i, end in enumerate(borders) if end <= size])
        assert len(list(reader)) == whole
        assert reader.damaged_frames == 0
        assert reader.torn_bytes == (size - borders[whole] if size >= borders[0] else size)
        assert counted(journal) == sum(range(1, whole + 1))


def test_zeros_behind_the_last_frame_are_a_torn_tail(journal):
    """What a file system may leave after a power cut."""
    with journal.open("ab") as file:
        file.write(bytes(5000))
    reader = JournalReader(journal)
    for _ in range(2):
        assert len(list(reader)) == 4
        assert (reader.torn_bytes, reader.damaged_frames) == (5000, 0)
    journal.write_bytes(journal.read_bytes()[:-5000])
    assert len(list(reader)) == 4
    assert (reader.torn_bytes, reader.damaged_frames) == (0, 0)


def test_a_batch_whose_length_the_format_cannot_hold_is_refused(monkeypatch):
    """Four bytes tell it."""
    monkeypatch.setattr(journal_room, "_MOST_BYTES", len(frame(1)) - 17)
    assert frame(1)
    with pytest.raises(OutputError, match="too large for the journal"):
        frame(1, rows=2)


def test_a_flipped_bit_costs_one_frame_and_is_reported(journal):
    """Every byte of the second frame: the others are still found, for they were paid."""
    data, borders = journal.read_bytes(), ends(journal)
    for at in range(borders[1], borders[2]):
        journal.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        reader = JournalReader(journal)
        assert [f.keys[0] for f in reader] == [0, 2, 3]
        assert reader.damaged_frames == 1


def test_a_damaged_header_takes_no_frame_with_it(journal):
    """Frames carry their own checksums."""
    data = bytearray(journal.read_bytes())
    data[3] ^= 1
    journal.write_bytes(data)
    reader = JournalReader(journal)
    assert len(list(reader)) == 4
    assert reader.damaged_frames == 1


def test_a_journal_of_a_newer_version_is_refused(journal):
    """What it holds was paid for, and nothing here knows how to read it."""
    head = struct.pack("<8sHI", b"WAIJRNL\n", 2, 7)
    journal.write_bytes(head + struct.pack("<I", zlib.crc32(head)) + journal.read_bytes()[18:])
    with pytest.raises(OutputDamaged, match="journal of version 2, written by a newer version"):
        list(JournalReader(journal))


def test_a_kind_of_a_newer_version_is_refused(journal):
    """Unknown frames are not skipped: they may hold something that was paid."""
    with journal.open("ab") as file:
        file.write(frame(9, kind=3))
    with pytest.raises(OutputDamaged, match="newer version"):
        list(JournalReader(journal))


def test_short_writes_are_completed(tmp_path, monkeypatch):
    """A system call that takes only some bytes is continued."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    writer = JournalWriter(Disk(), tmp_path / "journal-000001.wal", 1)
    writer.append(frame(5))
    writer.close()
    assert numbers(tmp_path / "journal-000001.wal") == [5]
