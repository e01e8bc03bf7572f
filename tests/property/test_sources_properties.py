"""What is written in a format is what is read from it, any number of times."""

import csv
import gzip
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records import BrokenRecord, Record
from pipeline.sources import open_source, streams
from pipeline.spec.model import InputSpec

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1, max_size=6).filter(
    str.strip
)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
RUNS = settings(max_examples=40, deadline=None)


def read_twice(name: str, content: bytes | pa.Table, **spec: object) -> list[Record | BrokenRecord]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            pq.write_table(content, path)
        source = open_source(InputSpec.model_validate({"path": str(path), **spec}))
        records = list(source.read())
        assert list(source.read()) == records
        assert [record.ordinal for record in records] == list(range(len(records)))
        return records


def fields(records: list[Record | BrokenRecord]) -> list[object]:
    return [record.fields if isinstance(record, Record) else record for record in records]


@RUNS
@given(st.lists(st.dictionaries(TEXT, SCALAR | st.lists(SCALAR, max_size=3), max_size=4)), st.booleans(), st.booleans())
def test_json_lines_come_back(rows, ascii_only, packed) -> None:
    content = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode()
    records = read_twice("a.jsonl.gz" if packed else "a.jsonl", gzip.compress(content) if packed else content)
    assert fields(records) == rows
    assert [record.row for record in records] == list(range(len(rows)))


@st.composite
def tables(draw):
    header = draw(st.lists(NAME, min_size=1, max_size=4, unique=True))
    return header, draw(st.lists(st.lists(TEXT, min_size=len(header), max_size=len(header)), max_size=8))


@RUNS
@given(tables(), st.sampled_from(["\n", "\r\n"]), st.sampled_from([("csv", ","), ("tsv", "\t")]))
def test_csv_comes_back(table, line_end, kind) -> None:
    header, rows = table
    suffix, delimiter = kind
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows([header, *rows])
        file.seek(0)
        content = file.read().encode()
    records = read_twice(f"a.{suffix}", content)
    expected_header = [name.removeprefix("\ufeff") if n == 0 else name for n, name in enumerate(header)]
    assert fields(records) == [dict(zip(expected_header, row, strict=True)) for row in rows]


@RUNS
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "s": st.none() | TEXT,
                "n": st.none() | st.integers(-(2**63), 2**63 - 1),
                "f": st.floats(allow_nan=False),
                "b": st.booleans(),
            }
        )
    )
)
def test_parquet_comes_back(rows) -> None:
    schema = pa.schema([("s", pa.string()), ("n", pa.int64()), ("f", pa.float64()), ("b", pa.bool_())])
    assert fields(read_twice("a.parquet", pa.Table.from_pylist(rows, schema=schema))) == rows


@RUNS
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=30)),
    st.integers(1, 20),
)
def test_text_lines_come_back_however_the_bytes_arrive(lines, chunk_bytes) -> None:
    kept = [line.removesuffix("\r") for line in lines]
    content = "\ufeff" + "".join(line + "\n" for line in lines)
    before = streams._CHUNK_BYTES
    streams._CHUNK_BYTES = chunk_bytes
    try:
        records = read_twice("a.txt", content.encode())
    finally:
        streams._CHUNK_BYTES = before
    assert [(r.row, r.fields["text"]) for r in records if isinstance(r, Record)] == [
        (n, line) for n, line in enumerate(kept) if line and not line.isspace()
    ]


@RUNS
@given(st.binary(max_size=200), st.sampled_from(["txt", "jsonl"]))
def test_rubbish_never_ends_a_reading(content, suffix) -> None:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert len(read_twice(f"a.{suffix}", content)) <= len(lines)


@RUNS
@given(st.lists(st.integers(-3, 3)), st.integers(-3, 3), st.integers(1, 5))
def test_where_and_limit_are_a_filter_and_a_cut(numbers, bound, limit) -> None:
    content = "".join(json.dumps({"n": n}) + "\n" for n in numbers).encode()
    records = read_twice("a.jsonl", content, where=f"n >= {bound}", limit=limit)
    assert fields(records) == [{"n": n} for n in numbers if n >= bound][:limit]
