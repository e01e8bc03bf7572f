"""How each format becomes records, and what broken input becomes."""

import bz2
import csv
import datetime as dt
import gzip
import io
import os
import tracemalloc
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError
from pipeline.records import BrokenRecord, Record
from pipeline.sources import RecordSource, open_source, origins, streams, tables, text
from pipeline.spec.model import InputSpec


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(name: str, content: bytes | None = None, **more: object) -> RecordSource:
    if content is not None:
        Path(name).write_bytes(content)
    return open_source(InputSpec.model_validate({"path": name, **more}))


def read(name: str, content: bytes | None = None, **more: object) -> list[tuple[int, object]]:
    """Rows as (row, fields or reason)."""
    records = list(opened(name, content, **more).read())
    assert [record.ordinal for record in records] == list(range(len(records)))
    assert {record.source for record in records} <= {name}
    return [(r.row, r.fields if isinstance(r, Record) else r.reason) for r in records]


def refused(name: str, content: bytes | None = None, **more: object) -> str:
    with pytest.raises(SourceError) as caught:
        read(name, content, **more)
    return str(caught.value)


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


PACK = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstd}


# --- text


def test_text_is_one_record_per_line_that_is_not_blank() -> None:
    content = b"one\n\n  \ntwo \r\nthree\rstill three\nnul \0 inside\n\r\nlast"
    assert read("a.txt", content) == [
        (0, {"text": "one"}),
        (3, {"text": "two "}),
        (4, {"text": "three\rstill three"}),
        (5, {"text": "nul \0 inside"}),
        (7, {"text": "last"}),
    ]
    assert opened("a.txt").columns() == ["text"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\n"])
def test_no_text_is_no_record(content) -> None:
    assert read("a.txt", content) == []


def test_a_byte_order_mark_is_no_content() -> None:
    assert read("a.txt", b"\xef\xbb\xbfone\n\xef\xbb\xbftwo") == [(0, {"text": "one"}), (1, {"text": "\ufefftwo"})]
    assert read("a.jsonl", b'\xef\xbb\xbf{"a": 1}') == [(0, {"a": 1})]
    assert read("a.csv", b"\xef\xbb\xbfa,b\n1,2\n") == [(0, {"a": "1", "b": "2"})]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv"])
def test_utf16_is_refused(encoding, suffix) -> None:
    content = ("\ufeff" if encoding.endswith("be") else "") + '{"a": 1}\n'
    assert "convert it to UTF-8" in refused(f"a.{suffix}", content.encode(encoding))


def test_a_line_that_is_not_utf8_is_broken_alone() -> None:
    assert read("a.txt", b"one\nab\xffc\ntwo\n") == [
        (0, {"text": "one"}),
        (1, "line is not UTF-8: byte 0xff at byte offset 2"),
        (2, {"text": "two"}),
    ]
    assert read("a.jsonl", b'{"a": "\xc3("}\n{}\n') == [(0, "line is not UTF-8: byte 0xc3 at byte offset 7"), (1, {})]


def test_broken_records_carry_the_default_id() -> None:
    (record,) = opened("a.txt", b"\xff").read()
    assert record == BrokenRecord(0, "a.txt#0", "a.txt", 0, "line is not UTF-8: byte 0xff at byte offset 0")


@pytest.mark.parametrize("size", [1, 7, 64])
def test_lines_do_not_depend_on_how_bytes_arrive(size, monkeypatch) -> None:
    monkeypatch.setattr(streams, "_CHUNK_BYTES", size)
    content = b"\xef\xbb\xbfone\n" + b"x" * 100 + b"\n\n" + "zwölf".encode() + b"\r\nlast"
    assert [row for _, row in read("a.txt", content)] == [{"text": t} for t in ("one", "x" * 100, "zwölf", "last")]
    for suffix, pack in PACK.items():
        assert len(read(f"a.txt.{suffix}", pack(content) + pack(b"\nmore\n"))) == 5


@pytest.mark.parametrize("size", [1, 5, 8, 20])
@pytest.mark.parametrize("position", ["first", "inside", "last"])
def test_a_line_that_is_too_long_is_broken_alone(size, position, monkeypatch) -> None:
    monkeypatch.setattr(streams, "_CHUNK_BYTES", size)
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 20)
    lines = [b"a" * 20, b"b", b"c" * 19]
    lines.insert({"first": 0, "inside": 2, "last": 3}[position], b"X" * 21)
    expected = [{"text": line.decode()} if line[0] != ord("X") else streams.OVERSIZE_REASON for line in lines]
    assert [value for _, value in read("a.txt", b"\n".join(lines))] == expected
    assert [value for _, value in read("a.txt", b"\n".join(lines) + b"\n")] == expected


def test_a_huge_line_is_not_held(monkeypatch) -> None:
    with gzip.open("a.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(b'{"a": "')
        for _ in range(20):
            file.write(b"x" * 1024 * 1024)
        file.write(b'"}\n{"a": 2}\n')
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 8 * 1024 * 1024)
    tracemalloc.start()
    try:
        assert read("a.jsonl.gz") == [(0, "line is longer than 64 MiB"), (1, {"a": 2})]
        assert tracemalloc.get_traced_memory()[1] < 12 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_document_is_bounded_and_must_be_utf8(monkeypatch) -> None:
    monkeypatch.setattr(text, "MAX_LINE_BYTES", 100)
    Path("d").mkdir()
    for name, content in {
        "a.txt": b"x" * 101,
        "b.txt": b"ok\n\xfe",
        "c.txt": b"",
        "d.txt.gz": gzip.compress(b"hi"),
    }.items():
        Path("d", name).write_bytes(content)
    records = list(open_source(InputSpec(path="d")).read())
    assert [r.reason if isinstance(r, BrokenRecord) else r.fields for r in records] == [
        "file is longer than 0 MiB",
        "file is not UTF-8: byte 0xfe at byte offset 3",
        {"text": ""},
        {"text": "hi"},
    ]
    assert [r.id for r in records] == ["a.txt", "b.txt", "c.txt", "d.txt.gz"]


# --- compression


@pytest.mark.parametrize("suffix", PACK)
def test_all_members_are_read(suffix) -> None:
    pack = PACK[suffix]
    lines = [b"line %d\n" % n for n in range(50_000)]
    packed = pack(b"".join(lines[:30_000])) + pack(b"") + pack(b"".join(lines[30_000:])[:-1])
    rows = read(f"a.txt.{suffix}", packed)
    assert len(rows) == 50_000
    assert rows[-1] == (49_999, {"text": "line 49999"})


@pytest.mark.parametrize("suffix", PACK)
def test_data_cut_off_delivers_what_came_before(suffix) -> None:
    lines = [b"%d %08x\n" % (n, zlib.crc32(b"%d" % n)) for n in range(100_000)]
    packed = PACK[suffix](b"".join(lines))
    half = packed[: int(len(packed) * 0.8)]
    source = opened(f"a.txt.{suffix}", half)
    seen: list[object] = []
    with pytest.raises(SourceError, match=rf"a\.txt\.{suffix}: is cut off or damaged"):
        seen.extend(record.fields["text"] for record in source.read())  # extend keeps what came before the error
    assert seen == [line.decode().strip() for line in lines[: len(seen)]]
    assert len(seen) > (0 if suffix == "bz2" else 50_000)


def test_all_that_zstd_had_unpacked_is_delivered(monkeypatch) -> None:
    lines = [b"%d %08x\n" % (n, zlib.crc32(b"%d" % n)) for n in range(50_000)]
    packed = zstd(b"".join(lines))
    counts = []
    for size in (64 * 1024, 50_000, 7_777):
        monkeypatch.setattr(streams, "_CHUNK_BYTES", size)
        seen: list[object] = []
        with pytest.raises(SourceError, match="cut off or damaged"):
            seen.extend(record.id for record in opened("a.txt.zst", packed[:-100_000]).read())
        counts.append(len(seen))
    assert counts[0] > 5000
    assert len(set(counts)) == 1


def test_a_failing_disk_is_not_taken_for_damage(monkeypatch) -> None:
    source = opened("a.txt.gz", gzip.compress(b"one\n"))

    def failing(*_: object):
        raise OSError(5, "Input/output error")
        yield b""

    monkeypatch.setattr(streams, "_members", failing)
    with pytest.raises(SourceError, match=r"a\.txt\.gz: cannot be read: Input/output error"):
        list(source.read())


@pytest.mark.parametrize("suffix", PACK)
def test_damaged_data_is_refused(suffix) -> None:
    data = b"".join(b"%d %08x\n" % (n, zlib.crc32(b"%d" % n)) for n in range(20_000))
    packed = PACK[suffix](data)
    # Frames of zstd need not have a checksum: hit what the decoder itself has to understand.
    at = 12 if suffix == "zst" else len(packed) // 2
    assert "cut off or damaged" in refused(f"a.txt.{suffix}", packed[:at] + b"\xff" * 200 + packed[at + 200 :])
    assert "is empty" in refused(f"a.txt.{suffix}", b"")
    assert "does not hold what its name says" in refused(f"a.txt.{suffix}", b"plain text\n")


def test_padding_after_gzip_is_allowed_and_rubbish_is_not() -> None:
    assert read("a.txt.gz", gzip.compress(b"one\n") + b"\0" * 100) == [(0, {"text": "one"})]
    assert len(read("a.txt.gz", gzip.compress(b"one\n") + b"\0" * 100_000 + gzip.compress(b"two\n"))) == 2
    assert "cut off or damaged" in refused("a.txt.gz", gzip.compress(b"one\n") + b"rubbish")


def test_gzip_that_swells_is_read_piece_by_piece() -> None:
    line = b"x" * 1024 * 1024 + b"\n"
    with gzip.open("a.txt.gz", "wb", compresslevel=9) as file:
        for _ in range(20):
            file.write(line)
    tracemalloc.start()
    try:
        assert [len(r.fields["text"]) for r in opened("a.txt.gz").read() if isinstance(r, Record)] == [
            len(line) - 1
        ] * 20
        assert tracemalloc.get_traced_memory()[1] < 5 * len(line)
    finally:
        tracemalloc.stop()


# --- jsonl


def test_json_lines() -> None:
    content = b'{"a": 1, "b": null}\r\n\n  \n{"a": [1, {"x": 2.5}], "a": "last wins"}\n{"\xc3\xa9": true}'
    assert read("a.jsonl", content) == [(0, {"a": 1, "b": None}), (3, {"a": "last wins"}), (4, {"é": True})]
    assert opened("a.jsonl").columns() is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1, 2]", "line is a list, not an object"),
        (b'"text"', "line is a string, not an object"),
        (b"12", "line is a number, not an object"),
        (b"1.5", "line is a number, not an object"),
        (b"true", "line is true or false, not an object"),
        (b"null", "line is null, not an object"),
        (b'{"a": 1,}', "line is not JSON: trailing comma is not allowed at column 8"),
        (b'{"a": 1', "line is not JSON: "),
        (b'{"a": NaN}', "line is not JSON: "),
        (b'{"a": "\\ud800"}', "line is not JSON: "),
        (b'{"a": 1} {"b": 2}', "line is not JSON: "),
        (b"plain", "line is not JSON: "),
        (b"[" * 5000, "line is not JSON: "),
    ],
)
def test_a_line_that_is_no_object_is_broken_alone(line, reason) -> None:
    rows = read("a.jsonl", b'{"n": 1}\n' + line + b'\n{"n": 2}\n')
    assert [rows[0], rows[2]] == [(0, {"n": 1}), (2, {"n": 2})]
    assert str(rows[1][1]).startswith(reason)


def test_blank_lines_before_the_first_do_not_hide_a_document(monkeypatch) -> None:
    monkeypatch.setattr(streams, "_CHUNK_BYTES", 4)
    assert "is one JSON array" in refused("a.json", b"\n" * 20 + b"[1]")


def test_a_json_file_may_hold_lines_but_no_document() -> None:
    assert read("a.json", b'\n{"a": 1}\n[1]\n') == [(1, {"a": 1}), (2, "line is a list, not an object")]
    assert "is one JSON array; write one object per line" in refused("a.json", b'\n [\n {"a": 1}\n]')
    assert "is one JSON array" in refused("a.json.gz", gzip.compress(b'[{"a": 1}]'))
    assert "is one JSON document over several lines" in refused("a.json", b'{\n "a": 1\n}')


# --- csv and tsv


def test_csv_with_all_its_quoting() -> None:
    content = b'id,text\r\n1,"two\r\nlines, ""quoted"""\r\n\r\n2,plain \r\n3,\r\n,\xc3\xa9\0'
    assert read("a.csv", content) == [
        (0, {"id": "1", "text": 'two\r\nlines, "quoted"'}),
        (1, {"id": "2", "text": "plain "}),
        (2, {"id": "3", "text": ""}),
        (3, {"id": "", "text": "é\0"}),
    ]
    assert opened("a.csv").columns() == ["id", "text"]


def test_tsv() -> None:
    assert read("a.tsv", b'a\tb\n1,5\t"x\ty"\n') == [(0, {"a": "1,5", "b": "x\ty"})]
    assert read("a.tsv.gz", gzip.compress(b"a\n1\n")) == [(0, {"a": "1"})]


def test_rows_that_do_not_fit_the_header_are_broken_alone() -> None:
    assert read("a.csv", b"a,b,c,d\n1,2,3,4,5\n1\nx,y,z,w\n1,\xff,3,4\na\rb,2,3,4\nx,y,z,w\n") == [
        (0, "5 cells, header has 4"),
        (1, "1 cell, header has 4"),
        (2, {"a": "x", "b": "y", "c": "z", "d": "w"}),
        (3, "line is not UTF-8: byte 0xff at byte offset 2"),
        (4, "a carriage return outside quotes"),
        (5, {"a": "x", "b": "y", "c": "z", "d": "w"}),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no header row"),
        (b"\n\n", "has no header row"),
        (b"a,b,a\n", "column 'a' is there twice"),
        (b"a,,b\n", "column 2 has no name"),
        (b"a,\xff\n", "header row: line is not UTF-8"),
        (b"a\rb\n", "header row: a carriage return"),
        (b'a,"b\n1,2\n', "a quote opened in line 1 is never closed"),
        (b'a,b\n1,2\n"3,4\n5,6\n', "a quote opened in line 3 is never closed"),
    ],
)
def test_a_csv_file_that_is_wrong_as_a_whole(content, said) -> None:
    assert said in refused("a.csv", content)


def test_a_quote_that_stays_open_does_not_swallow_the_memory(monkeypatch) -> None:
    monkeypatch.setattr(tables, "_MAX_QUOTED_BYTES", 1000)
    assert "a quote opened in line 2 is not closed within" in refused("a.csv", b'a\n"x\n' + b"line\n" * 1000)


def test_csv_lines_and_fields_that_are_long(monkeypatch) -> None:
    big = "x" * 300_000  # more than the standard library takes by default
    assert read("a.csv", f"a,b\n{big},2\n".encode()) == [(0, {"a": big, "b": "2"})]
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(streams, "_CHUNK_BYTES", 50)
    assert read("a.csv", b"a,b\n1,2\n" + b"x" * 101 + b",2\n3,4\n") == [
        (0, {"a": "1", "b": "2"}),
        (1, "line is longer than 64 MiB"),
        (2, {"a": "3", "b": "4"}),
    ]


def test_the_limit_for_csv_fields_is_only_raised() -> None:
    before = csv.field_size_limit()
    try:
        csv.field_size_limit(2**40)
        read("a.csv", b"a\n1\n")
        assert csv.field_size_limit() == 2**40
    finally:
        csv.field_size_limit(before)


# --- parquet


def test_parquet_values_come_as_python_values() -> None:
    when = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    table = pa.table(
        {
            "s": ["é", None],
            "n": [1, 2],
            "f": [0.5, None],
            "b": [True, False],
            "l": [[1, 2], []],
            "m": [{"x": "y"}, None],
            "t": pa.array([when, None], pa.timestamp("us", "UTC")),
            "d": pa.array(["k", "k"]).dictionary_encode(),
        }
    )
    pq.write_table(table, "a.parquet")
    assert read("a.parquet") == [
        (0, {"s": "é", "n": 1, "f": 0.5, "b": True, "l": [1, 2], "m": {"x": "y"}, "t": when, "d": "k"}),
        (1, {"s": None, "n": 2, "f": None, "b": False, "l": [], "m": None, "t": None, "d": "k"}),
    ]
    assert opened("a.parquet").columns() == ["s", "n", "f", "b", "l", "m", "t", "d"]


def test_parquet_files_with_different_schemas() -> None:
    pq.write_table(pa.table({"a": range(2500)}), "a.pq", row_group_size=700)
    pq.write_table(pa.table({"b": ["x"]}), "b.parquet")
    records = list(open_source(InputSpec(path=("a.pq", "b.parquet"))).read())
    assert [record.fields for record in records] == [{"a": n} for n in range(2500)] + [{"b": "x"}]
    assert [record.row for record in records] == [*range(2500), 0]


def test_wide_parquet_rows_come_in_small_batches(monkeypatch) -> None:
    sizes: list[int] = []
    iter_batches = pq.ParquetFile.iter_batches

    def spied(self, **options):
        sizes.append(options["batch_size"])
        return iter_batches(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spied)
    wide = [f"{n:07d}" * 30_000 for n in range(30)]
    pq.write_table(pa.table({"a": wide}), "a.parquet", use_dictionary=False)
    assert [value for _, value in read("a.parquet")] == [{"a": text} for text in wide]
    assert sizes[0] < 30


def test_a_parquet_row_without_a_python_value_is_broken_alone() -> None:
    bad = pa.StringArray.from_buffers(3, pa.array([0, 1, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xffb"))
    pq.write_table(pa.table({"a": bad}), "a.parquet")
    rows = read("a.parquet")
    assert [rows[0], rows[2]] == [(0, {"a": "a"}), (2, {"a": "b"})]
    assert str(rows[1][1]).startswith("row cannot be read:")


def test_a_parquet_row_that_is_too_long_is_broken_alone(monkeypatch) -> None:
    """As a line of a text file is: a value of 300 MB in a file of 10 kB was cut into pieces for minutes."""
    monkeypatch.setattr("pipeline.sources.parquet.MAX_LINE_BYTES", 1024 * 1024)
    values = ["one", "x" * 1_100_000, "two", "y" * 900_000, "z" * 900_000]
    pq.write_table(pa.table({"a": values, "n": range(5)}), "a.parquet", compression="zstd")
    assert read("a.parquet") == [
        (n, "row is longer than 1 MiB" if n == 1 else {"a": value, "n": n}) for n, value in enumerate(values)
    ]


def test_what_is_no_parquet_is_refused() -> None:
    pq.write_table(pa.table({"a": list(range(100_000))}), "whole.parquet")
    whole = Path("whole.parquet").read_bytes()
    for content in (b"", b"plain text, long enough to be looked at", whole[: len(whole) // 2]):
        assert "is not Parquet, or cut off or damaged" in refused("a.parquet", content)
    assert "damaged" in refused("a.parquet", whole[:100] + b"\xff" * 4000 + whole[4100:])
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), "twice.parquet")
    assert "column 'a' is there twice" in refused("twice.parquet")
    assert "cannot be read: No such file" in refused_after_removal("whole.parquet")


def refused_after_removal(name: str) -> str:
    source = opened(name)
    Path(name).unlink()
    with pytest.raises(SourceError) as caught:
        source.columns()
    return str(caught.value)


# --- all of them


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv", "parquet", "jsonl.gz", "jsonl.zst"])
def test_memory_does_not_grow_with_the_input(suffix) -> None:
    n = 200_000 if suffix == "txt" else 25_000
    lines = "".join(f'{{"a": "record number {i}"}}\n' for i in range(n)).encode()
    if suffix == "parquet":
        pq.write_table(pa.table({"a": [f"record number {i}" for i in range(n)]}), "a.parquet")
    else:
        content = (b"a\n" + lines.replace(b'"', b"")) if suffix == "csv" else lines
        Path(f"a.{suffix}").write_bytes(PACK.get(suffix.rpartition(".")[2], bytes)(content))
    del lines
    source = opened(f"a.{suffix}")
    count = 0
    tracemalloc.start()
    try:
        for _ in source.read():
            count += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == n
    assert peak < 5 * 1024 * 1024


def test_a_reading_can_be_left_and_started_again() -> None:
    source = opened("a.txt", b"one\ntwo\nthree\n")
    left = source.read()
    first = next(left)
    beside = source.read()
    assert next(beside) == first
    left.close()
    assert len(list(beside)) == 2
    assert len(list(source.read())) == 3
    source.close()


def test_limits_are_as_promised() -> None:
    assert origins.MAX_LINE_BYTES == 64 * 1024 * 1024
    assert io.DEFAULT_BUFFER_SIZE < origins.MAX_LINE_BYTES


def test_a_picture_whose_name_is_no_text_is_told_as_that(folder):
    """It was told as missing, under the name it is shown by."""
    Path(os.fsdecode(b"\xff\xfe.png")).write_bytes(b"x")
    Path("ok.png").write_bytes(b"x")
    found = {record.id: record for record in open_source(InputSpec(path=".", format="images")).read()}
    assert set(found) == {"\\xff\\xfe.png", "ok.png"}
    broken = found["\\xff\\xfe.png"]
    assert isinstance(broken, BrokenRecord)
    assert broken.reason == "the name of the file is not UTF-8; rename the file"
