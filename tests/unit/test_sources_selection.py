"""`where`, `id`, `limit`, items and stdin."""

import datetime as dt
import decimal
import gzip
import io
import json
import sqlite3
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError
from pipeline.records import BrokenRecord, Record
from pipeline.sources import RecordSource, open_source
from pipeline.sources import where as where_room
from pipeline.sources.spool import Spool
from pipeline.sources.where import Where
from pipeline.spec.model import InputSpec


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(stdin: io.BytesIO | None = None, spool_dir: Path | None = None, **spec: object) -> RecordSource:
    return open_source(InputSpec.model_validate(spec), stdin=stdin, spool_dir=spool_dir)


def refused(**spec: object) -> str:
    with pytest.raises(SourceError) as caught:
        opened(**spec)
    return str(caught.value)


def jsonl(*rows: object, name: str = "a.jsonl") -> str:
    Path(name).write_text("".join(row + "\n" if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return name


def picked(where: str, *rows: dict[str, object]) -> list[int]:
    """Numbers of the rows a condition takes."""
    return [record.row for record in opened(path=jsonl(*rows), where=where).read()]


# --- where


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("lang = 'en'", [0, 2]),
        ('lang = "en"', [0, 2]),
        ("[lang] = 'en' and `n` > 1", [2]),
        ("n", [0, 1, 2]),
        ("n > 1 -- the large ones", [1, 2]),
        ("n > 1 /* the large ones */", [1, 2]),
        ("length(body) > 3", [0]),
        ("body is null", [2, 3]),
        ("not_there is null", [0, 1, 2, 3]),
        ("not_there = 1", []),
        ("ok", [0]),
        ("tags ->> 0 = 'x'", [1]),
        ("json_extract(meta, '$.a.b') = 5", [1]),
        ("meta ->> 'é' = 'ü'", [2]),
        ("[a column] = 1", [3]),
        ("lang in ('en', 'de') and not (n = 2)", [0, 2]),
        ("lang like '%E%'", [0, 1, 2]),
        ("'a;b' = 'a;b'", [0, 1, 2, 3]),
        ("big > 9223372036854775807", [3]),
        ("(select max(x) from (select n as x union select 2)) = 2", [0, 1]),
        ("exists (select 1 from json_each(tags) where value = 'y')", [1]),
        ("(select count(*) from sqlite_master) = 0", [0, 1, 2, 3]),
        ("'1x'", [0, 1, 2, 3]),
        ("'x'", []),
        ("null", []),
    ],
)
def test_a_condition_picks_rows(where, rows) -> None:
    given: tuple[dict[str, object], ...] = (
        {"lang": "en", "n": 1, "body": "long text", "ok": True},
        {"lang": "de", "n": 2, "body": "abc", "ok": False, "tags": ["x", "y"], "meta": {"a": {"b": 5}}},
        {"lang": "en", "n": 3.5, "body": None, "meta": {"é": "ü"}},
        {"a column": 1, "n": 0, "big": 2**64 - 1},
    )
    if rows == [0, 1] and "union" in where:
        rows = [0, 1, 3]
    assert picked(where, *given) == rows


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("", "the condition is empty"),
        ("  ", "the condition is empty"),
        ("lang = ", "syntax error, perhaps at the end of the condition"),
        ("lang = 'en", "a quote is not closed"),
        ("1 /* open", "a comment is not closed"),
        ("[lang = 1", "a bracket is not closed"),
        ("(n > 1", "parentheses do not match"),
        ("1) union select (2", "parentheses do not match"),
        ("1) --", "parentheses do not match"),
        ("n > 1; DROP TABLE x", "';' has no place"),
        ("n = ?1", "'?' has no place"),
        ("n = :x", "':' has no place"),
        ("n = @x", "'@' has no place"),
        ("n = 'a\0'; --", "';' has no place"),
        ("a, b", "row value misused"),
        ("*", "syntax error"),
        ("drop table x", "syntax error"),
        ("delete from x", "syntax error"),
        ("attach 'x' as y", "syntax error"),
        ("load_extension('x')", "not authorized"),
        ("random() > 0", "not authorized"),
        ("n = (select * from pragma_database_list)", "authori"),
        (
            "(with recursive c(x) as (select 1 union all select x + 1 from c) select max(x) from c) > 1",
            "not authorized",
        ),
        ("no_such_function(n)", "no such function: no_such_function"),
        ("length(n, 2)", "wrong number of arguments"),
        ("meta.lang = 'en'", "json_extract(meta, '$.lang')"),
        ("n = (select x from t)", "no such table: t"),
        ("a" * 2001, "2001 characters, at most 2000"),
        (" + ".join(f"c{n}" for n in range(51)), "more than 50 columns"),
    ],
)
def test_what_is_no_condition_is_refused_before_reading(where, said) -> None:
    said_so = refused(path=jsonl({"n": 1}), where=where)
    assert said_so.startswith("where: ")
    assert said in said_so


def test_nothing_but_computing_is_authorised(folder) -> None:
    connection = where_room._connect()
    target = folder / "made.db"
    for statement in (
        f"ATTACH '{target}' AS y",
        f"VACUUM INTO '{target}'",
        "CREATE TABLE t (a)",
        "PRAGMA writable_schema = 1",
        "SELECT load_extension('x')",
        "BEGIN",
    ):
        with pytest.raises(sqlite3.Error):
            connection.execute(statement)
    connection.close()
    assert not target.exists()


def test_fifty_columns_are_taken() -> None:
    row = {f"c{n}": 1 for n in range(50)}
    assert picked(" + ".join(row) + " = 50", row) == [0]


def test_a_condition_that_does_not_end_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(where_room, "_STEPS_PER_CHECK", 1000)
    many = "(select count(*) from json_each(l) a, json_each(l) b, json_each(l) c) > 0"
    source = opened(path=jsonl({"l": list(range(300))}), where=many)
    with pytest.raises(SourceError, match="does not come to an end"):
        list(source.read())


def test_a_record_the_condition_fails_on_is_broken_alone() -> None:
    path = jsonl({"id": "a", "m": "{}"}, {"id": "b", "m": "not json"}, {"id": "c", "m": '{"x": 1}'})
    records = list(opened(path=path, where="json_extract(m, '$.x') = 1", id="id").read())
    assert [(r.id, type(r)) for r in records] == [("b", BrokenRecord), ("c", Record)]
    assert isinstance(records[0], BrokenRecord)
    assert records[0].reason == "where: malformed JSON"


def test_broken_records_are_never_filtered_out_and_count_for_the_limit() -> None:
    path = jsonl({"n": 1}, "[]", {"n": 2}, "oops", {"n": 2})
    records = list(opened(path=path, where="n = 2", limit=3).read())
    assert [(r.ordinal, r.row, type(r)) for r in records] == [
        (0, 1, BrokenRecord),
        (1, 2, Record),
        (2, 3, BrokenRecord),
    ]


def test_conditions_on_tables_know_their_columns() -> None:
    Path("a.csv").write_text("lang,my col,year\nen,x,1999\nde,y,2001\n")
    Path("b.csv").write_text("lang,extra\nen,1\n")
    assert [r.row for r in opened(path="a.csv", where="\"my col\" = 'y'").read()] == [1]
    assert [r.row for r in opened(path="a.csv", where="LANG = 'en'").read()] == [0]
    assert [r.source for r in opened(path=("a.csv", "b.csv"), where="extra = '1'").read()] == ["b.csv"]
    assert refused(path="a.csv", where="lnag = 'en'") == "where: a.csv has no column 'lnag'; did you mean lang?"
    assert "no file has a column 'zzz'" in refused(path=("a.csv", "b.csv"), where="zzz = 1")
    assert "there are: lang, my col, year, extra" in refused(path=("a.csv", "b.csv"), where="zzz = 1")
    assert "has no column 'lang'" in refused(path=text_file(), where="lang = 'en'")


@pytest.mark.parametrize(("header", "hint"), [("id;body", "semicolons; write it with commas"), ("id\tbody", "tabs")])
def test_a_header_with_other_separators_is_recognised(header: str, hint: str) -> None:
    """A spreadsheet's CSV is one column to us; the error says why."""
    Path("a.csv").write_text(f"{header}\n")
    assert hint in refused(path="a.csv", id="id")


def text_file() -> str:
    Path("t.txt").write_text("one\n")
    return "t.txt"


@pytest.mark.parametrize(
    "where",
    [
        "year > 2000",
        "lang = 'en' and (year>=2000)",
        "year between 2000 and 2010",
        "year IN (2000, 2001)",
        "2000 < year",
        "[my col] = 1",
        "not year = 5",
    ],
)
def test_text_columns_are_not_compared_with_numbers(where) -> None:
    Path("a.csv").write_text("lang,my col,year\nen,x,1999\n")
    assert "is text in this input; write CAST(" in refused(path="a.csv", where=where)


@pytest.mark.parametrize(
    ("where", "n"),
    [
        ("CAST(year AS INTEGER) > 2000", 1),
        ("year + 0 > 2000", 1),
        ("0 + year > 2000", 1),
        ("2000 < year + 0", 1),
        ("year = '1999'", 1),
        ("length(year) > 3", 2),
        ("lang <> 'year > 2000'", 2),
        ("year like '19%' or 0", 1),
    ],
)
def test_text_columns_in_other_conditions(where, n) -> None:
    Path("a.csv").write_text("lang,year\nen,1999\nde,2001\n")
    assert len(list(opened(path="a.csv", where=where).read())) == n


def test_parquet_values_in_conditions() -> None:
    day = dt.date(2026, 1, 2)
    pq.write_table(pa.table({"n": [1, 2], "d": [day, day], "b": [b"x", b"y"], "t": [dt.time(1), None]}), "a.parquet")
    for where, rows in [
        ("n > 1", [1]),
        ("d >= '2026-01-01' and n = 1", [0]),
        ("b = x'79'", [1]),
        ("t = '01:00:00'", [0]),
    ]:
        assert [r.row for r in opened(path="a.parquet", where=where).read()] == rows
    assert "did you mean n?" not in refused(path="a.parquet", where="nope = 1")


def test_decimals_and_values_beyond_sql() -> None:
    pq.write_table(
        pa.table({"c": [decimal.Decimal("1.50")], "m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))}),
        "a.parquet",
    )
    assert len(list(opened(path="a.parquet", where="c = '1.50' and m ->> '$[0][1]' = 1").read())) == 1


def test_a_source_can_be_read_in_another_thread() -> None:
    source = opened(path=jsonl({"n": 1}, {"n": 2}), where="n = 2")
    reading = source.read()
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend(reading))
    thread.start()
    thread.join()
    assert len(found) == 1


def test_the_columns_of_a_condition_are_known() -> None:
    assert Where("a + b > length(c)").columns == ["a", "b", "c"]


# --- id


def test_ids_come_from_the_column() -> None:
    path = jsonl({"id": "x"}, {"id": 5}, {"id": -1}, {"id": "1"})
    assert [(r.id, type(r)) for r in opened(path=path, id="id").read()] == [(i, Record) for i in ("x", "5", "-1", "1")]


def test_a_record_without_a_usable_id_is_broken() -> None:
    path = jsonl(
        {"a": 1, "b": 2}, {"c": 1}, {"id": None}, {"id": ""}, {"id": True}, {"id": 1.0}, {"id": ["x"]}, "[]", {}
    )
    records = list(opened(path=path, id="id").read())
    assert [r.id for r in records] == [f"a.jsonl#{n}" for n in range(9)]
    assert [r.reason for r in records if isinstance(r, BrokenRecord)] == [
        "no id column 'id'; the record has: a, b",
        "no id column 'id'",
        "id column 'id' is empty",
        "id column 'id' is empty",
        "id column 'id' holds bool, not text or a whole number",
        "id column 'id' holds float, not text or a whole number",
        "id column 'id' holds list, not text or a whole number",
        "line is a list, not an object",
        "no id column 'id'",
    ]


def test_records_with_many_columns_are_not_listed_whole() -> None:
    path = jsonl({f"c{n}": n for n in range(20)}, {"id": "x"})
    record, _ = opened(path=path, id="id").read()
    assert isinstance(record, BrokenRecord)
    assert record.reason.endswith("c11 and 8 more")
    record, _ = opened(path=jsonl({}, {"id": "x"}), id="id").read()
    assert isinstance(record, BrokenRecord)
    assert record.reason.endswith("the record has: nothing")


def test_an_id_column_no_record_has_is_refused_at_the_end() -> None:
    records = opened(path=jsonl({"idd": 1}, {"idd": 2}), id="id").read()
    assert isinstance(next(records), BrokenRecord)
    with pytest.raises(SourceError, match=r"^input\.id: no record has a column 'id'; did you mean idd\?"):
        list(records)


def test_an_id_column_no_table_has_is_refused() -> None:
    Path("a.csv").write_text("doc_id,text\n1,x\n")
    Path("b.csv").write_text("key,text\n7,y\n")
    assert refused(path="a.csv", id="docid") == "input.id: a.csv has no column 'docid'; did you mean doc_id?"
    records = list(opened(path=("a.csv", "b.csv"), id="key").read())
    assert [(r.id, type(r)) for r in records] == [("a.csv#0", BrokenRecord), ("7", Record)]
    assert "has no column 'id'" in refused(path=text_file(), id="id")
    jsonl({"x": 1})
    assert [r.id for r in opened(path=("a.csv", "a.jsonl"), id="x").read()] == ["a.csv#0", "1"]


# --- limit


def test_the_limit_counts_over_all_files() -> None:
    jsonl({"n": 1}, {"n": 2}, name="a.jsonl")
    jsonl({"n": 3}, {"n": 4}, name="b.jsonl")
    source = opened(path="*.jsonl", limit=3)
    assert [(r.ordinal, r.id) for r in source.read()] == [(0, "a.jsonl#0"), (1, "a.jsonl#1"), (2, "b.jsonl#0")]
    assert len(list(opened(path="*.jsonl", limit=9).read())) == 4


# --- items


def test_items_are_records() -> None:
    source = opened(items=("a prompt", {"text": "b", "lang": "en"}, "bad \ud800", {"x": ["\udfff"]}))
    assert list(source.read()) == [
        Record(0, "items#0", "items", 0, {"text": "a prompt"}),
        Record(1, "items#1", "items", 1, {"text": "b", "lang": "en"}),
        BrokenRecord(2, "items#2", "items", 2, "text holds half a character (a lone surrogate)"),
        BrokenRecord(3, "items#3", "items", 3, "text holds half a character (a lone surrogate)"),
    ]
    assert source.files() == ["items"]
    assert source.columns() == ["text", "lang", "x"]
    source.close()


def test_items_with_where_and_id() -> None:
    items = ({"k": "a", "n": 1}, {"k": "b", "n": 2})
    assert [r.id for r in opened(items=items, where="n > 1", id="k").read()] == ["b"]
    assert "items has no column 'key'; did you mean k?" in refused(items=items, id="key")
    assert opened(items=items).fingerprint() == opened(items=items).fingerprint()
    assert opened(items=items).fingerprint() != opened(items=items[:1]).fingerprint()


# --- stdin


@pytest.mark.parametrize(
    ("content", "spec", "expected"),
    [
        (b"one\n\ntwo", {}, [(0, {"text": "one"}), (2, {"text": "two"})]),
        (b'\xef\xbb\xbf \n {"a": 1}\n{"a": 2}\n', {}, [(1, {"a": 1}), (2, {"a": 2})]),
        (b'{"a": 1}\n', {"format": "text"}, [(0, {"text": '{"a": 1}'})]),
        (b"a,b\n1,2\n", {"format": "csv"}, [(0, {"a": "1", "b": "2"})]),
        (b"", {}, []),
        (b"x", {}, [(0, {"text": "x"})]),
    ],
)
def test_stdin_can_be_read_again(content, spec, expected, folder) -> None:
    spool_dir = folder / "spool"
    spool_dir.mkdir()
    source = opened(io.BytesIO(content), spool_dir, path="-", **spec)
    records = list(source.read())
    assert [(r.row, r.fields) for r in records if isinstance(r, Record)] == expected
    assert list(source.read()) == records
    assert {r.source for r in records} <= {"-"}
    assert source.files() == ["-"]
    assert source.fingerprint() == source.fingerprint()
    assert len(list(spool_dir.iterdir())) == 1
    source.close()
    source.close()
    assert not list(spool_dir.iterdir())


KINDS = {
    "whole numbers": pa.array([1, 2]),
    "numbers": pa.array([1.5, 2.5]),
    "true and false": pa.array([True, False]),
    "dates or times": pa.array([dt.date(2026, 1, 1)] * 2),
    "lists or objects": pa.array([["a"], ["b"]]),
    "": pa.array(["a", "b"]).dictionary_encode(),
}


@pytest.mark.parametrize(("kind", "values"), KINDS.items(), ids=KINDS)
def test_parquet_columns_that_can_be_no_text_are_known_before_reading(kind, values) -> None:
    pq.write_table(pa.table({"a": values}), "a.parquet")
    pq.write_table(pa.table({"a": ["text"]}), "b.parquet")
    assert opened(path="a.parquet").without_text("a") == kind
    assert opened(path=("a.parquet", "b.parquet")).without_text("a") == ""
    if kind in {"", "whole numbers"}:
        assert [record.id for record in opened(path="a.parquet", id="a").read()] == [str(value) for value in values]
    else:
        assert f"column 'a' holds {kind}, not text or whole numbers" in refused(path="a.parquet", id="a")


def test_parquet_through_stdin(folder) -> None:
    pq.write_table(pa.table({"a": [1, 2]}), "a.parquet")
    source = opened(io.BytesIO(Path("a.parquet").read_bytes()), folder, path="-", format="parquet")
    assert source.columns() == ["a"]
    assert [r.id for r in source.read()] == ["-#0", "-#1"]
    source.close()


def test_stdin_is_not_read_further_than_asked(folder) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, _size: int = -1) -> bytes:
            self.given += 1
            return b"line\n" * 10

    stdin = Endless()
    source = opened(stdin, folder, path="-", limit=25)
    assert len(list(source.read())) == 25
    assert stdin.given <= 5
    assert len(list(source.read())) == 25
    source.close()


def test_what_another_reading_took_in_is_not_taken_for_the_end(folder) -> None:
    spool = Spool(io.BytesIO(b"text"), folder)
    assert b"".join(spool.chunks()) == b"text"
    assert spool._pull(0)
    assert not spool._pull(4)
    assert spool.drain().read_bytes() == b"text"
    spool.close()


def test_two_readings_of_stdin_side_by_side(folder) -> None:
    content = b"".join(b"line %d\n" % n for n in range(50_000))
    source = opened(io.BytesIO(content), folder, path="-")
    first, second = source.read(), source.read()
    assert all(a == b for a, b in zip(first, second, strict=True))
    assert len(list(source.read())) == 50_000
    source.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"x", mtime=0), "-: is gzip data; unpack it on the way"),
        (b"PAR1\0\0\0", "set input.format: parquet"),
        (b"\xff\xfea\0", "convert it to UTF-8"),
    ],
)
def test_stdin_that_is_no_text(content, said, folder) -> None:
    spool_dir = folder / "spool"
    spool_dir.mkdir()
    with pytest.raises(SourceError, match=said):
        list(opened(io.BytesIO(content), spool_dir, path="-").read())


def test_a_refusal_leaves_no_spool(folder) -> None:
    spool_dir = folder / "spool"
    spool_dir.mkdir()
    for spec in ({"path": ("-", "missing.txt")}, {"path": "-", "where": "a b c"}, {"path": "-", "id": "nope"}):
        with pytest.raises(SourceError):
            opened(io.BytesIO(b"text\n"), spool_dir, **spec)
    assert not list(spool_dir.iterdir())
    with pytest.raises(SourceError, match="-: cannot be read"):
        opened(io.BytesIO(b"text\n"), folder / "none", path="-")


def test_stdin_among_files_is_read_once(folder) -> None:
    source = opened(io.BytesIO(b"{}\n"), folder, path=(jsonl({"a": 1}), "-", "-"))
    assert [r.id for r in source.read()] == ["a.jsonl#0", "-#0"]
    source.close()


def test_stdin_of_the_process_is_the_default(monkeypatch, folder) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\n")))
    source = opened(None, folder, path="-")
    assert [r.id for r in source.read()] == ["-#0"]
    source.close()


def test_reading_is_fast() -> None:
    # A tenth of what is measured on one core: this finds a slip of an order of magnitude, not a busy machine.
    Path("a.txt").write_text("".join(f"this is line number {n}\n" for n in range(100_000)))
    source = opened(path="a.txt")
    started = time.perf_counter()
    assert sum(1 for _ in source.read()) == 100_000
    assert time.perf_counter() - started < 2.5


# -- an input that changes between two readings ------------------------------------------------------------------

CHANGES = {
    "longer": lambda path: path.write_text(path.read_text() + '{"id": 99}\n'),
    "shorter": lambda path: path.write_text('{"id": 0}\n'),
    "shifted": lambda path: path.write_text('{"id": 77}\n' + path.read_text()),
    "gone": lambda path: path.unlink(),
    "another": lambda path: (path.rename(f"{path}.old"), path.write_text('{"id": 55}\n' * 1_000)),
}


@pytest.mark.parametrize("in_the_middle", [False, True])
@pytest.mark.parametrize("how", CHANGES)
def test_what_has_changed_since_the_first_reading_is_not_read_on(tmp_path, how, in_the_middle):
    """Records are known by their place while a run goes on: nothing of a changed file may stand in another's place."""
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"id": {n}}}\n' for n in range(10_000)))
    source = open_source(InputSpec(path=str(path), id="id"))
    known = [item.id for item in source.read()]
    assert [item.id for item in source.read()] == known
    reading = source.read()
    got = [next(reading).id for _ in range(100)] if in_the_middle else []
    CHANGES[how](path)
    with pytest.raises(SourceError, match=r"a\.jsonl: (has changed since the run began|cannot be read)"):
        got.extend(item.id for item in reading)
    assert got == known[: len(got)]


# -- records that are passed over --------------------------------------------------------------------------------

PASSED_OVER = [
    {},
    {"id": "id"},
    {"limit": 5},
    {"limit": 3, "id": "id"},
    {"where": "n <> 3"},
    {"where": "n > 1", "id": "id", "limit": 4},
]


@pytest.mark.parametrize("spec", PASSED_OVER, ids=str)
@pytest.mark.parametrize("modulus", [1, 2, 3, 100])
def test_what_is_passed_over_leaves_the_rest_as_it_is(spec, modulus):
    """The same records under the same ordinals, broken ones among them, over two files and with a limit."""
    a = '{"id": "a", "n": 1}\n\nno json\n{"id": "b", "n": 2}\n{"n": 3}\n'
    Path("a.jsonl").write_text(a)
    Path("b.jsonl").write_text("".join(f'{{"id": "c{n}", "n": {n}}}\n' for n in range(4, 9)))
    source = opened(path=("a.jsonl", "b.jsonl"), **spec)
    known = list(source.read())
    asked = []

    def wanted(ordinal):
        asked.append(ordinal)
        return ordinal % modulus == 0

    assert list(source.read(wanted)) == known[::modulus]
    assert asked == list(range(len(known)))


def test_an_id_column_of_which_nothing_is_asked_for_is_no_mistake():
    """The first reading has seen it; here only the record without it is left."""
    Path("a.jsonl").write_text('{"id": "a"}\n{"n": 1}\n')
    source = opened(path="a.jsonl", id="id")
    known = list(source.read())
    assert list(source.read(lambda ordinal: ordinal == 1)) == known[1:]


def test_stdin_is_not_read_beyond_the_limit_for_what_is_passed_over(folder):
    """Nor is it waited for."""
    stdin = io.BytesIO(b"line\n" * 30)
    source = opened(stdin, folder, path="-", limit=10)
    assert len(list(source.read())) == 10
    stdin.close()  # whoever reads on is told
    assert [record.ordinal for record in source.read(lambda ordinal: ordinal > 8)] == [9]
    source.close()


@pytest.mark.parametrize("in_the_middle", [False, True])
@pytest.mark.parametrize("how", CHANGES)
def test_what_has_changed_is_not_passed_over(tmp_path, how, in_the_middle):
    """Where only some are asked for, none of them is of a file that has changed, and its end is not taken for one."""
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"id": {n}}}\n' for n in range(10_000)))
    source = open_source(InputSpec(path=str(path), id="id"))
    known = [item.id for item in source.read()]
    reading = source.read(lambda ordinal: ordinal % 7 == 0)
    got = [next(reading).id for _ in range(100)] if in_the_middle else []
    CHANGES[how](path)
    with pytest.raises(SourceError, match=r"a\.jsonl: (has changed since the run began|cannot be read)"):
        got.extend(item.id for item in reading)
    assert got == known[::7][: len(got)]
