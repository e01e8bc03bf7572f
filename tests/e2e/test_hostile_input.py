"""Input that means no good (promises P1, P6, P9): failure rows or a refusal, and nothing written outside the output."""

import codecs
import gzip
import json
import os
import re

import pytest

from tests.support.cli import ended_with_peak, sentences, write_jsonl
from tests.support.mounts import bound_by_permissions

MEGABYTE = 10**6
ODD_IDS = [
    "../../up",
    "/etc/passwd",
    "nul\0byte",
    "line\nbreak\r\n",
    "x" * 5_000,
    "CON",
    "..",
    ".",
    " ",
    "a",
    "\u0430",  # looks like an a
    "\u202egpj.exe",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "\ufeffbom",
    "e\u0301",
    "\u00e9",
    "🙂\u200d🙂",
    'a/b\\c:d*e?f"g<h>i|j',
    "$(touch owned)",
    "'; DROP TABLE ledger; --",
]
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200d\ufeff]")


@pytest.fixture
def watched(world):
    """A world in which nothing may appear outside `out`, `state` and what the test itself writes."""
    yield world
    mine = {"out", "state", "home"}
    left = {path.name for path in world.folder.iterdir()} - mine
    assert not any(name.startswith("owned") for name in left)
    written = getattr(world, "before", None)
    assert written is None or tree(world.folder, mine) == written


def tree(folder, without):
    """Every file and folder but those, with size and time of change."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns if path.is_file() else 0)
        for path in sorted(folder.rglob("*"))
        if path.relative_to(folder).parts[0] not in without
    }


def snapshot(world):
    """From here on the test itself writes nothing."""
    world.before = tree(world.folder, {"out", "state", "home"})


def check_said(*ran):
    """Nothing in what was printed steers the terminal."""
    for each in ran:
        assert not STEERING.search(each.said), repr(STEERING.search(each.said))


def test_odd_ids(watched):
    """Ids are values: they name no file, are kept as they are, and are shown without what steers a terminal."""
    write_jsonl(
        watched.folder / "data.jsonl",
        [{"id": name, "text": f"{text} POISON"} for name, text in zip(ODD_IDS, sentences(), strict=False)],
    )
    watched.spec(retry={"attempts": 1, "abort_share": 1}, limits={"batch_size": 1})
    snapshot(watched)
    watched.faults({"fault": "5006", "match": "POISON", "times": len(ODD_IDS)})
    ran = [watched.wai("plan", "job.yaml"), watched.wai("run", "job.yaml", code=4), watched.wai("status", "job.yaml")]
    watched.check_once(ODD_IDS)
    assert len(watched.ids("failures")) == len(ODD_IDS)
    ran.append(watched.wai("run", "job.yaml", "--retry-failed"))
    watched.check_once(ODD_IDS)
    assert sorted(watched.ids()) == sorted(ODD_IDS)
    check_said(*ran)


@pytest.mark.parametrize(("task", "column"), [("image", "prompt"), ("speak", "text")])
def test_odd_ids_of_records_that_become_files(watched, task, column):
    """Whatever a record is called: its file lies in media/ and nowhere else, has a plain name, and is no other's."""
    records = [{"id": name, column: text} for name, text in zip(ODD_IDS, sentences(), strict=False)]
    write_jsonl(watched.folder / "data.jsonl", records)
    small = {"model": "@cf/leonardo/phoenix-1.0", "params": {"width": 256, "height": 256, "num_steps": 1}}
    watched.spec(task=task, text=None if task == "image" else "text", **(small if task == "image" else {}))
    snapshot(watched)
    watched.run()
    watched.check_once(ODD_IDS)
    out = watched.folder / "out"
    paths = watched.table()["path"].to_pylist()
    assert len({path.lower() for path in paths}) == len(ODD_IDS)
    assert {out / path for path in paths} == set((out / "media").rglob("*"))
    assert all(re.fullmatch(r"media/[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}", path) for path in paths)


@pytest.mark.parametrize("name", [ODD_IDS[3], ODD_IDS[11], ODD_IDS[12]])
def test_an_odd_id_twice(watched, name):
    """The message that names it is one line and does not steer the terminal."""
    write_jsonl(watched.folder / "data.jsonl", [{"id": name, "text": text} for text in sentences()[:2]])
    watched.spec()
    ran = watched.wai("run", "job.yaml", code=2)
    check_said(ran)
    assert len(ran.err.splitlines()) == 1
    assert "stands twice" in ran.err


@pytest.mark.parametrize("name", ["a\x1b[2J\u202eb.jsonl", "line\nbreak [1] *.jsonl"])
def test_odd_file_names(watched, name):
    """Files are read under any name; what is shown of it does not steer the terminal."""
    write_jsonl(watched.folder / name, [{"text": text} for text in sentences()[:3]])
    (watched.folder / name).write_text((watched.folder / name).read_text() + "no json\n")
    watched.spec(identity=None, input={"path": f"./{name}"})
    snapshot(watched)
    check_said(watched.wai("plan", "job.yaml"), watched.wai("run", "job.yaml", code=4))
    assert len(watched.ids()) == 3
    watched.spec(identity=None, input={"path": f"./{name}x"})
    watched.before = None
    check_said(watched.wai("run", "job.yaml", code=2))


ODD_LINES = {
    "empty": (b'{"id": "%s", "text": ""}', "empty"),
    "blank": (b'{"id": "%s", "text": " \\t\\u3000\\n"}', "empty"),
    "number": (b'{"id": "%s", "text": 5}', "text"),
    "true": (b'{"id": "%s", "text": true}', "text"),
    "null": (b'{"id": "%s", "text": null}', "null"),
    "object": (b'{"id": "%s", "text": {"a": 1}}', "text"),
    "list": (b'{"id": "%s", "text": ["a"]}', "text"),
    "absent": (b'{"id": "%s"}', "text"),
    "surrogate": (b'{"id": "%s", "text": "a \\ud800 b"}', "not JSON"),
    "latin-1": (b'{"id": "%s", "text": "\xe9"}', "UTF-8"),
    "cut": (b'{"id": "%s", "text": "a', "not JSON"),
    "array": (b'["%s", "text"]', "a list, not an object"),
    "id is an object": (b'{"id": {"%s": 1}, "text": "a"}', "id column"),
    "id is empty": (b'{"id": "", "text": "%s"}', "id column"),
    "deep": (b'{"id": "%s", "text": ' + b"[" * 3_000 + b"]" * 3_000 + b"}", "not JSON"),
    "beyond a float": (b'{"id": "%s", "text": "a", "n": 1e400}', "not JSON"),
    "nul in the raw": (b'{"id": "%s", "text": "a\0b"}', "not JSON"),
}
GOOD_LINES = {
    "nul": b'{"id": "%s", "text": "a\\u0000b"}',
    "escapes": b'{"id": "%s", "text": "\\u001b[2J \\u202e"}',
    "pair": b'{"id": "%s", "text": "\\ud83d\\ude42"}',
    "crlf": b'{"id": "%s", "text": "x"}\r',
    "indented": b'   {"id": "%s", "text": "y"}  ',
    "more columns": b'{"id": "%s", "text": "z", "": 1, "../x": 2, "neurons": "no", "a.b": [1, {"c": null}]}',
    "a key twice": b'{"id": "%s", "text": "first", "text": "second"}',
    "a great number": b'{"id": "%s", "text": "w", "n": 123456789012345678901234567890}',
}


@pytest.mark.parametrize("task", ["embed", "generate"])
def test_odd_lines(watched, task):
    """What cannot be sent is a failure row with its place and reason, before anything is spent on it."""
    lines = [line % name.encode() for name, (line, _) in ODD_LINES.items()]
    lines += [line.replace(b"%s", name.encode()) for name, line in GOOD_LINES.items()]
    (watched.folder / "data.jsonl").write_bytes(codecs.BOM_UTF8 + b"\n\n\r\n".join(lines))
    watched.spec(task=task, input={"path": "data.jsonl", "id": "id", "text": "text"})
    snapshot(watched)
    plan = watched.wai("plan", "job.yaml", "--json").json["records"]
    assert (plan["total"], plan["unusable"]) == (len(lines), len(ODD_LINES))
    ran = watched.wai("run", "job.yaml", code=4)
    check_said(ran)
    failures = sorted(watched.table("failures").to_pylist(), key=lambda row: row["row"])
    assert len(failures) == len(ODD_LINES)
    for row, (name, (_, word)) in zip(failures, ODD_LINES.items(), strict=True):
        assert word in row["message"], (name, row["message"])
    assert sorted(watched.ids()) == sorted(GOOD_LINES)
    assert task == "generate" or watched.stats()["texts"] == len(GOOD_LINES)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["embed", "generate"])
def test_long_texts(watched, task):
    """A text of 10 MB is sent or refused alone; the one beside it is answered."""
    write_jsonl(
        watched.folder / "data.jsonl",
        [{"id": "long", "text": "word " * (2 * MEGABYTE)}, {"id": "short", "text": "a word"}],
    )
    watched.spec(task=task, retry={"attempts": 1, "abort_share": 1}, budget={"neurons_per_day": 10_000_000})
    snapshot(watched)
    ran, peak = watched_run(watched)
    assert ran.code in {0, 4}
    assert "short" in watched.ids()
    watched.check_once(["long", "short"])
    assert peak < 500 * MEGABYTE


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "txt", "jsonl.gz"])
@pytest.mark.parametrize("megabytes", [200, pytest.param(1_000, marks=pytest.mark.torture)])
def test_a_line_without_end(watched, suffix, megabytes):
    """A line of 200 MB is never held: it is a broken record with a reason, and the lines around it are used."""
    is_json = suffix.startswith("jsonl")
    before, after = (b'{"text": "one"}\n', b'{"text": "two"}\n') if is_json else (b"text\none\n", b"two\n")
    path = watched.folder / f"data.{suffix}"
    with gzip.open(path, "wb", 1) if suffix.endswith("gz") else path.open("wb") as file:
        file.write(before + (b'{"text": "' if is_json else b""))
        for _ in range(megabytes):
            file.write(b"x" * MEGABYTE)
        file.write((b'"}\n' if is_json else b"\n") + after)
    watched.spec(identity=None, input={"path": path.name}, budget={"neurons_per_day": 10_000_000})
    snapshot(watched)
    planned, peak = watched_run(watched, "plan")
    assert (planned.code, planned.json["records"]["unusable"]) == (0, 1)
    assert peak < 400 * MEGABYTE
    ran, peak = watched_run(watched)
    assert ran.code == 4
    (failure,) = watched.table("failures").to_pylist()
    assert "longer than 64 MiB" in failure["message"]
    assert watched.table().num_rows == (3 if suffix == "txt" else 2)
    assert peak < 400 * MEGABYTE
    path.unlink()
    watched.before = None


def watched_run(world, command="run"):
    """Run or plan job.yaml; return how it ended and the peak of its memory."""
    more = ["-q"] if command == "run" else []
    with world.start(command, "job.yaml", "--json", *more, fresh=True) as running:
        return ended_with_peak(running)


@pytest.mark.parametrize("name", ["id", "source", "neurons", "embedding", "finished_at"])
def test_a_kept_column_named_as_one_of_ours(watched, name):
    """Two columns of one name are refused before anything is sent."""
    write_jsonl(watched.folder / "data.jsonl", [{"id": "a", "text": "one", "embedding": 1, "neurons": 2, name: "x"}])
    data = json.loads((watched.folder / "data.jsonl").read_text())
    write_jsonl(watched.folder / "data.jsonl", [{"source": 1, "finished_at": 2, **data}])
    watched.spec(input={"path": "data.jsonl", "id": "id", "text": "text", "keep": [name]})
    snapshot(watched)
    ran = watched.wai("run", "job.yaml", code=2)
    assert f'"{name}"' in ran.err
    assert "input.keep" in ran.err
    assert watched.requests == 0


def test_kept_columns_of_odd_names(watched):
    """A column may be called anything; its name is no path and its values are kept as they are."""
    names = ["../x", "a.b", "a b", "\x1b[2J", "list<", "x" * 500, "ÄÖ", "__proto__", "*", "1"]
    record = {"id": "a", "text": "one", **{name: f"value {n}" for n, name in enumerate(names)}}
    write_jsonl(watched.folder / "data.jsonl", [record])
    watched.spec(input={"path": "data.jsonl", "id": "id", "text": "text", "keep": names})
    snapshot(watched)
    ran = [watched.wai(name, "job.yaml") for name in ("plan", "run", "status")]
    check_said(*ran)
    (row,) = watched.table().to_pylist()
    assert {name: row[name] for name in names} == {name: record[name] for name in names}


def test_values_of_every_kind_are_kept(watched):
    """A kept column of mixed values becomes JSON text; nothing in it ends the run."""
    values = [1, 2**64 - 1, 1.5, True, None, "x", "\u0000", {"a": [1, {"b": None}]}, [], "1e400", -0.0]
    write_jsonl(watched.folder / "data.jsonl", [{"id": n, "text": f"t {n}", "k": v} for n, v in enumerate(values)])
    watched.spec(input={"path": "data.jsonl", "id": "id", "text": "text", "keep": ["k"]})
    watched.run()
    kept = {row["id"]: row["k"] for row in watched.table().to_pylist()}
    assert [json.loads(kept[str(n)]) if kept[str(n)] is not None else None for n in range(len(values))] == values


# -- where the input lies ----------------------------------------------------------------------------------------


def test_links_and_odd_places(watched):
    """Links in and out of the folder are read once each; spaces and glob characters in names are no trouble."""
    outside = watched.folder / "else where"
    inside = watched.folder / "in [x]*?"
    for folder in (outside, inside):
        folder.mkdir()
    write_jsonl(outside / "a.jsonl", [{"id": "a", "text": "one"}])
    write_jsonl(inside / "b {1}.jsonl", [{"id": "b", "text": "two"}])
    (inside / "out.jsonl").symlink_to(outside / "a.jsonl")
    (inside / "again.jsonl").symlink_to("b {1}.jsonl")
    (inside / "round").symlink_to(inside)
    (inside / "nowhere.jsonl").symlink_to("not there")
    watched.spec(input={"path": inside.name, "id": "id", "text": "text"})
    snapshot(watched)
    watched.wai("run", "job.yaml")
    watched.check_once(["a", "b"])


def make_fifo(path):
    os.mkfifo(path)


def make_unreadable(path):
    path.write_text("{}")
    path.chmod(0)


NOT_FILES = {
    "a pipe": (make_fifo, "no regular file"),
    "a device": (lambda path: path.symlink_to("/dev/null"), "no regular file"),
    "a device without end": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "x.jsonl"),
    "an empty file": (lambda path: path.write_bytes(b""), "nothing in the input"),
    "blank lines": (lambda path: path.write_bytes(b"\n \n\r\n"), "nothing in the input"),
    "a folder of that name": (lambda path: path.mkdir(), "holds no files"),
    "unreadable": (make_unreadable, "cannot be read"),
}


@pytest.mark.parametrize("what", NOT_FILES)
def test_what_is_no_file_of_records(watched, what):
    """Refused at once with the place in the spec; nothing is waited for, sent or written."""
    make, words = NOT_FILES[what]
    make(watched.folder / "x.jsonl")
    watched.spec(input={"path": "x.jsonl", "id": "id", "text": "text"})
    snapshot(watched)
    for command in ("plan", "run"):
        words_before = bound_by_permissions() if what == "unreadable" else ()
        ran = watched.wai(command, "job.yaml", code=2, timeout=20, before=words_before)
        assert re.match(r"job\.yaml:\d+: input(\.path|\.id)?: ", ran.err), ran.err
        assert words in ran.err
        assert len(ran.err.splitlines()) == 1
    assert watched.requests == 0
    assert not (watched.folder / "out").exists()


# -- an input that changes under a run ---------------------------------------------------------------------------


def append(path):
    with path.open("a") as file:
        file.writelines(json.dumps({"id": f"new{n}", "text": f"new text {n}"}) + "\n" for n in range(50))


def put_first(path):
    path.write_text(json.dumps({"id": "new", "text": "a new text"}) + "\n" + path.read_text())


CHANGES = {
    "longer": append,
    "shifted": put_first,
    "emptied": lambda path: path.write_bytes(b""),
    "cut in a line": lambda path: os.truncate(path, path.stat().st_size // 2),
    "deleted": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("how", CHANGES)
def test_an_input_that_changes_under_the_run(watched, how):
    """The run stops and says which file; what was answered is kept, and once it is as it was a run completes it."""
    n = 2_000
    watched.records(f"{sentences()[n % 500]} {n}" for n in range(n))
    path = watched.folder / "data.jsonl"
    original = path.read_bytes()
    watched.spec(limits={"batch_size": 5, "concurrency": 4})
    watched.latency(0.05)
    with watched.start("run", "job.yaml", "--json", "-q") as running:
        watched.wait_for(lambda: watched.requests >= 8, what="answers")
        CHANGES[how](path)
        ran = running.ended()
    assert "Traceback" not in ran.said
    assert ran.code == 2, ran.said
    assert "data.jsonl" in ran.err
    assert re.search("has changed since the run began|cannot be read", ran.err)
    watched.latency(0)
    kept = watched.stats()["texts"]
    assert kept < n

    if path.is_dir():
        path.rmdir()
    path.write_bytes(original)
    report = watched.run()
    assert report["records"] == {"total": n, "done": n, "failed": 0, "pending": 0}
    watched.check_once([f"r{place:05}" for place in range(n)])
    assert watched.stats()["texts"] == n


def test_a_packed_file_that_is_cut_under_the_run(watched):
    """The same for the second of two files, which is opened only later, and cannot be unpacked to its end."""
    n = 1_000
    lines = [json.dumps({"id": f"r{place:05}", "text": f"{place} {sentences()[place % 500]}"}) for place in range(n)]
    for name, part in (("a.jsonl", lines[: n // 2]), ("b.jsonl", lines[n // 2 :])):
        (watched.folder / f"{name}.gz").write_bytes(gzip.compress("\n".join(part).encode()))
    path = watched.folder / "b.jsonl.gz"
    original = path.read_bytes()
    watched.spec(input={"path": "*.jsonl.gz", "id": "id", "text": "text"}, limits={"batch_size": 5, "concurrency": 4})
    watched.latency(0.05)
    with watched.start("run", "job.yaml", "--json", "-q") as running:
        watched.wait_for(lambda: watched.requests >= 8, what="answers")
        os.truncate(path, len(original) // 2)
        ran = running.ended()
    assert ran.code == 2, ran.said
    assert re.search(
        r"^job\.yaml:\d+: input\.path: b\.jsonl\.gz: has changed since the run began", ran.err, re.MULTILINE
    )
    assert re.search(r" what this run has answered is kept: \d+ records\n", ran.err)
    damaged = watched.wai("run", "job.yaml", code=2)
    assert "b.jsonl.gz: is cut off or damaged" in damaged.err

    watched.latency(0)
    path.write_bytes(original)
    assert watched.run()["records"]["done"] == n
    watched.check_once([f"r{place:05}" for place in range(n)])
    assert watched.stats()["texts"] == n


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [x]\n" + "b: [" + "*a, " * 100_000 + "]\n", "anchors are not supported"),
        ("task: embed\nparams: " + "[" * 3_000, "levels deep"),
        ("task: embed\nname: " + "x" * 10_000_000, "larger than 1 MiB"),
        ("task: embed\n\tinput: {path: a}\n", "tab"),
        ("task: embed\ninput: {path: a.jsonl}\ndedupe: on\n", "dedupe: should be true or false"),
        ("task: embed\ninput: {path: a.jsonl}\nno: on\n", "no: unknown"),
        ("task: embed\ninput: {path: a.jsonl}\nname: \x1b[2J\u202e\n", ""),
    ],
    ids=["aliases", "nested", "10 MB", "tab", "on", "no", "escapes"],
)
def test_specs_that_mean_no_good(watched, text, words):
    """Refused with file and line within the time of a start, whatever they hold."""
    (watched.folder / "job.yaml").write_text(text)
    snapshot(watched)
    began = watched.wai("--version").seconds
    ran = watched.wai("run", "job.yaml", code=2)
    assert ran.seconds < 2 * began + 5  # a bomb would take minutes
    assert re.match(r"job\.yaml(:\d+)?: ", ran.err)
    assert words in ran.err
    assert all(len(line) < 500 for line in ran.err.splitlines())
    check_said(ran)


@pytest.mark.parametrize("name", ["a device without end", "binary"])
def test_specs_that_are_no_files(watched, name):
    """A spec that would never end is not read."""
    path = watched.folder / "job.yaml"
    {
        "a device without end": lambda path: path.symlink_to("/dev/zero"),
        "binary": lambda path: path.write_bytes(os.urandom(5_000)),
    }[name](path)
    for command in ("validate", "plan", "run"):
        ran = watched.wai(command, "job.yaml", code=2, timeout=30)
        assert ran.err.startswith("job.yaml")
        check_said(ran)
