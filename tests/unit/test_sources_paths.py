"""Which files are read, in which order, under which name."""

import os
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.records import Record
from pipeline.sources import RecordSource, open_source
from pipeline.spec.model import InputSpec


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def make(*names: str, content: str = '{"a": 1}\n') -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content)


def opened(path, **more: object) -> RecordSource:
    return open_source(InputSpec.model_validate({"path": path, **more}))


def refused(path, **more: object) -> str:
    with pytest.raises(SourceError) as caught:
        list(opened(path, **more).read())
    return str(caught.value)


def test_a_glob_is_sorted_recursive_and_skips_hidden() -> None:
    make("data/b.jsonl", "data/a/z.jsonl", "data/.x.jsonl", "data/.git/c.jsonl", "data/a/deep/k.jsonl", "data/B.jsonl")
    assert opened("data/**/*.jsonl").files() == [
        "data/B.jsonl",
        "data/a/deep/k.jsonl",
        "data/a/z.jsonl",
        "data/b.jsonl",
    ]
    assert opened("data/*.jsonl").files() == ["data/B.jsonl", "data/b.jsonl"]


def test_a_list_keeps_its_order_and_reads_a_file_once() -> None:
    make("b.jsonl", "a.jsonl", "c.jsonl")
    Path("link.jsonl").symlink_to("a.jsonl")
    files = opened(("c.jsonl", "./a.jsonl", "*.jsonl", str(Path("b.jsonl").absolute()), "link.jsonl")).files()
    assert files == ["c.jsonl", "a.jsonl", "b.jsonl"]


def test_a_file_behind_a_link_is_read() -> None:
    make("real/a.jsonl")
    Path("link.jsonl").symlink_to("real/a.jsonl")
    assert [record.id for record in opened("link.jsonl").read()] == ["link.jsonl#0"]


def test_a_link_back_to_a_folder_on_the_way_does_not_loop() -> None:
    make("d/e/a.jsonl")
    Path("d/e/up").symlink_to(Path("d").absolute())
    assert opened("d").files() == ["d/e/a.jsonl"]


def test_sources_are_shown_relative_to_the_working_directory(folder, tmp_path) -> None:
    make("sub/a.jsonl", "../out.jsonl")
    assert opened(str(folder / "sub" / "a.jsonl")).files() == ["sub/a.jsonl"]
    assert opened("./sub//a.jsonl").files() == ["sub/a.jsonl"]
    assert opened("../out.jsonl").files() == ["../out.jsonl"]
    assert opened(str(tmp_path / "out.jsonl")).files() == [(tmp_path / "out.jsonl").as_posix()]


def test_a_name_with_glob_signs_can_be_a_file() -> None:
    make("a[1].jsonl", "a1.jsonl")
    assert opened("a[1].jsonl").files() == ["a[1].jsonl"]


def test_the_home_folder_is_known(monkeypatch, folder) -> None:
    make("a.jsonl")
    monkeypatch.setenv("HOME", str(folder))
    assert opened("~/a.jsonl").files() == ["a.jsonl"]


def test_names_that_are_not_utf8_are_shown_in_ascii(folder) -> None:
    path = bytes(folder) + b"/caf\xe9.jsonl"
    try:
        Path(os.fsdecode(path)).write_bytes(b"{}\n")
    except OSError:
        pytest.skip("the file system refuses such names")
    assert opened("*.jsonl").files() == ["caf\\xe9.jsonl"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("data/train.jsonl", "data/train.jsonl: no such file or folder; did you mean data/trian.jsonl?"),
        ("dta/trian.jsonl", "dta/trian.jsonl: no such file or folder; did you mean data?"),
        ("data/trian.jsonl/x", "data/trian.jsonl is a file"),
        ("data/*.csv", "data/*.csv: matches no file"),
        ("dat/*.jsonl", "matches no file; did you mean data?"),
        ("da?a", "matches folders only: add /**"),
        ("zzzzzz", "zzzzzz: no such file or folder (looked for in /"),
        ("zzzzzz/*.txt", "zzzzzz/*.txt: matches no file (looked for in /"),
        ("data/notes.pdf", "suffix '.pdf' says no format; known are .txt"),
        ("data/LICENSE", "the name has no suffix that says the format"),
        ("empty", "empty: the folder holds no files"),
        ("odd", "the folder holds no files of a known format"),
        ("data/t.parquet.gz", "is a Parquet file inside gzip; unpack it first"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(path, said) -> None:
    make("data/trian.jsonl", "data/notes.pdf", "data/LICENSE", "odd/a.bin", "data/t.parquet.gz")
    Path("empty").mkdir()
    assert said in refused(path)


def test_an_unreadable_file_is_named(monkeypatch) -> None:
    make("a.jsonl")
    source = opened("a.jsonl")
    Path("a.jsonl").unlink()
    with pytest.raises(SourceError, match=r"a\.jsonl: cannot be read: No such file"):
        list(source.read())
    with pytest.raises(SourceError, match=r"a\.jsonl: cannot be read"):
        source.fingerprint()


def test_links_that_lead_nowhere_and_pipes_are_named() -> None:
    Path("link.txt").symlink_to("gone.txt")
    os.mkfifo("pipe.txt")
    assert "link.txt is a link that leads nowhere" in refused("link.txt")
    assert 'for a pipe use "-"' in refused("pipe.txt")


def test_folders_that_cannot_be_listed(monkeypatch) -> None:
    make("d/a.jsonl")

    def no_entry(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", no_entry)
    assert refused("d") == "d: cannot be read: Permission denied"
    monkeypatch.setattr(os, "listdir", no_entry)
    assert refused("d/b.jsonl").startswith("d/b.jsonl: no such file or folder (looked for in /")


def test_a_folder_of_texts_is_one_record_per_file() -> None:
    make("docs/b.md", "docs/sub/a.txt", content="one\r\n\ntwo\n")
    make("docs/image.png", "docs/.hidden.txt")
    records = list(opened("docs").read())
    fields = {"text": "one\r\n\ntwo\n"}
    assert records == [
        Record(0, "b.md", "docs/b.md", 0, fields),
        Record(1, "sub/a.txt", "docs/sub/a.txt", 0, fields),
    ]
    assert opened("docs").columns() == ["text"]
    assert [record.id for record in opened("docs", format="text").read()] == ["b.md", "sub/a.txt"]


def test_a_glob_of_texts_is_one_record_per_line() -> None:
    make("docs/b.md", "docs/a.txt", content="one\n\ntwo\n")
    assert [record.id for record in opened("docs/*").read()] == [
        "docs/a.txt#0",
        "docs/a.txt#2",
        "docs/b.md#0",
        "docs/b.md#2",
    ]


def test_a_folder_of_tables_is_read_as_tables() -> None:
    make("t/a.jsonl", "t/sub/b.ndjson", "t/_SUCCESS")
    assert [record.id for record in opened("t").read()] == ["t/a.jsonl#0", "t/sub/b.ndjson#0"]


def test_a_folder_of_both_needs_a_format() -> None:
    make("m/README.md", "m/a.jsonl")
    said = refused("m")
    assert "m: the folder holds texts (m/README.md) and tables (m/a.jsonl); set input.format" in said
    assert opened("m", format="jsonl").files() == ["m/a.jsonl"]
    assert opened("m", format="text").files() == ["m/README.md"]
    assert "holds no csv files" in refused("m", format="csv")


def test_a_format_reads_files_whose_names_say_nothing() -> None:
    make("logs/part-0001", "logs/part-0000", "x.log")
    assert opened("logs", format="jsonl").files() == ["logs/part-0000", "logs/part-0001"]
    assert [record.fields for record in opened("x.log", format="jsonl").read()] == [{"a": 1}]


def test_documents_of_two_folders_must_not_share_an_id() -> None:
    make("a/readme.txt", "b/readme.txt", content="x")
    assert "b/readme.txt: has the same record id (readme.txt) as a/readme.txt" in refused(("a", "b"))


def test_the_fingerprint_follows_content_and_names() -> None:
    make("a.jsonl", "b.jsonl")
    source = opened("*.jsonl")
    first = source.fingerprint()
    assert source.fingerprint() == first == opened("*.jsonl").fingerprint()
    with Path("a.jsonl").open("a") as file:
        file.write("{}\n")
    assert source.fingerprint() != first
    assert opened("b.jsonl").fingerprint() != opened("a.jsonl").fingerprint()
