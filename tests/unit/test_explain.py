"""The story of one record: every state by construction, and every line a person reads."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.errors import PlanError, SpecError
from pipeline.eventlog import Attempt
from pipeline.explain import Entry, Explanation, Standing, explain_record
from pipeline.explain.advice import advise
from pipeline.explain.nearest import Nearest
from pipeline.records import NO_PAYLOAD, Failure, Row, digest
from pipeline.resolve import resolve
from pipeline.rows import output_columns
from pipeline.settings import Secret, Settings
from pipeline.spec import load_spec
from pipeline.storage import Glance, JobIdentity, Located, Store
from tests.support.cli import write_jsonl

AT = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
MODEL = "@cf/baai/bge-m3"
COMMAND = "wai run job.yaml"
ENTRY = Entry("data.jsonl", 7, "Some text.", "", 0.0011, 0.0102, b"k" * 16, is_sent=True)
ROW = Located(
    "results",
    "results/part-00003.parquet",
    1234,
    b"k" * 16,
    {"id": "a", "model": MODEL, "neurons": 0.0009, "latency_ms": 431.2, "attempts": 2, "finished_at": AT},
)
FAILURE = Located(
    "failures",
    "failures/part-00000.parquet",
    3,
    b"k" * 16,
    {"code": "3043", "http_status": 500, "message": "Internal error", "attempts": 6, "retryable": True, "at": AT},
)
TOLD = Explanation("a", "job", "out", Standing.DONE, False, ENTRY, None, (), ROW, None, "")


class Fixed:
    def now(self):
        return AT


def refused(seconds, **changes):
    it = Attempt(AT - timedelta(seconds=seconds), "run-1", 1, "3040", 429, "No room (HTTP 429, code 3040)", 0.0, 1)
    return replace(it, **changes)


def test_a_record_that_needs_no_answer_has_no_price():
    """And nobody else's answer is in its row."""
    entry = replace(ENTRY, expected=0.0, at_most=0.0, is_sent=False)
    row = replace(ROW, values={**ROW.values, "neurons": 0.0, "attempts": 0})
    lines = replace(TOLD, entry=entry, stored=row).lines()
    assert lines[0] == "a: done"
    assert "  price     nothing: it needs no answer" in lines


# -- by construction ----------------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job of five records in a folder of its own, as (explain, store it, write the input)."""
    monkeypatch.chdir(tmp_path)
    settings = Settings(
        account_id="0" * 32,
        api_token=Secret("t"),
        base_url="https://api.example/client/v4",
        state_dir=tmp_path / "state",
    )
    stores = []

    class Job:
        def __init__(self):
            self.texts = {"a": "alpha", "b": "beta", "c": "alpha", "d": "delta", "e": " "}

        def write(self, **texts):
            self.texts = {**self.texts, **texts}
            rows = [{"id": name, "text": text} for name, text in self.texts.items() if text is not None]
            write_jsonl(tmp_path / "data.jsonl", rows)

        def spec(self, extra=""):
            text = f"task: embed\ninput: {{path: data.jsonl, id: id}}\noutput: {{path: out}}\n{extra}"
            Path("job.yaml").write_text(text)

        def explain(self, name, **options):
            return explain_record("job.yaml", name, settings=settings, clock=Fixed(), **options)

        def key(self, text):
            return digest(text.encode())

        def store(self, results=(), failures=(), run=None):
            known = resolve(load_spec("job.yaml"), settings)
            identity = JobIdentity("job", "embed", MODEL, known.identity, "workers-ai", "", False, "")
            columns = output_columns(known.adapter.columns, [], include_input=False)
            it = Store.open(Path("out"), job=identity, columns=columns, rows_per_part=50, clock=Fixed())
            stores.append(it)
            it.append([self.row(*each) for each in results], [self.failure(*each) for each in failures])
            it.close({"stop_reason": "completed", "finished_at": AT.isoformat(), **(run or {})})

        def row(self, name, text, attempts=1):
            values = {"id": name, "source": "data.jsonl", "row": 0, "embedding": [0.0] * 1024, "model": MODEL}
            values |= {"chunk": 0, "n_chunks": 1, "chunk_start": 0, "chunk_end": len(text)}
            values |= {"neurons": 0.5, "latency_ms": 12.0, "attempts": attempts, "finished_at": AT}
            return Row(self.key(name), self.key(text), values)

        def failure(self, name, text, retryable=True, attempts=2):
            key = self.key(text) if text is not None else NO_PAYLOAD
            return Failure(self.key(name), key, name, "data.jsonl", 0, "3043", 500, "bad", attempts, retryable, AT)

    it = Job()
    it.write()
    it.spec()
    yield it
    for each in stores:
        each.abandon()


def test_pending(job):
    """A record that nothing is known of is pending; the first of equal texts is the one that is sent."""
    told = job.explain("a")
    assert (told.state, told.shares_with, told.stored, told.attempts) == (Standing.PENDING, None, None, [])
    assert (told.entry.file, told.entry.row, told.entry.text, told.advice) == ("data.jsonl", 0, "alpha", COMMAND)
    assert 0 < told.entry.expected <= told.entry.at_most
    follower = job.explain("c")
    assert (follower.state, follower.shares_with) == (Standing.PENDING, "a")
    job.spec("dedupe: false\n")
    assert job.explain("c").shares_with is None


def test_a_pending_record_follows_as_the_plan_decides(job):
    """An equal text that was answered comes before one that is pending, and a changed record leads nobody."""
    job.store([("gone", "alpha")])
    assert job.explain("a").shares_with == "gone"
    job.write(x="xi", y="xi", d="xi")
    job.store([("d", "delta")])
    assert job.explain("d").state is Standing.CHANGED
    assert job.explain("x").shares_with is None
    assert job.explain("y").shares_with == "x"


def test_unusable(job):
    """A record without text is pending with what is wrong; once it has a failure row, it failed."""
    told = job.explain("e")
    assert (told.state, told.entry.unusable) == (Standing.PENDING, "the text is empty")
    assert "mend it in data.jsonl" in told.advice
    assert told.shares_with is None
    job.store((), [("e", None, False, 0)])
    told = job.explain("e")
    assert (told.state, told.shares_with) == (Standing.FAILED, None)
    assert told.advice == "mend it in data.jsonl, then wai run job.yaml --retry-failed"
    job.write(e="mended")
    assert job.explain("e").state is Standing.FAILED  # as the run sees it: known by its id alone


def test_done_failed_changed_gone(job):
    """What the output holds of a record is compared with what the input says now."""
    job.store([("a", "alpha"), ("b", "beta"), ("c", "alpha", 0)], [("d", "delta"), ("e2", "x", False)])
    assert [job.explain(name).state for name in "abcd"] == [Standing.DONE] * 3 + [Standing.FAILED]
    assert [job.explain(name).shares_with for name in "abc"] == [None, None, "a"]
    assert job.explain("d").advice == f"{COMMAND} --retry-failed"
    assert job.explain("a").advice == ""
    assert job.explain("e2").state is Standing.NOT_IN_INPUT
    job.write(b="better", d="better", a=None)
    assert [job.explain(name).state for name in "bd"] == [Standing.CHANGED] * 2
    assert job.explain("b").advice.startswith(f"{COMMAND} --replace-changed")
    gone = job.explain("a")
    assert (gone.state, gone.entry) == (Standing.NOT_IN_INPUT, None)


def test_a_shared_row_whose_origin_is_gone(job):
    """A row that cost no attempt is a shared one, even if nobody knows any more with whom."""
    job.store([("c", "alpha", 0)])
    told = job.explain("c")
    assert told.shares_with == ""
    assert told.lines()[0] == "c: done, shares the answer of another record (equal text)"


def test_the_rest_of_the_input_is_not_read(job):
    """What stands behind the record is not looked at: damage there keeps nobody from asking."""
    with Path("data.jsonl").open("ab") as file:
        file.write(b"\xff\xfe not json\n")
    Path("more.jsonl.gz").write_bytes(b"not gzip")
    job.spec()
    Path("job.yaml").write_text(
        "task: embed\ninput: {path: [data.jsonl, more.jsonl.gz], id: id}\noutput: {path: out}\n"
    )
    assert job.explain("a").state is Standing.PENDING
    with pytest.raises(SpecError, match=r"more\.jsonl\.gz"):
        job.explain("nobody")


def test_nobody(job):
    """An id that is nowhere is refused with those that are alike, and exit code 2."""
    with pytest.raises(PlanError, match=r'no record "aa" in the input or in out; nearest: a$') as caught:
        job.explain("aa")
    assert caught.value.exit_code == 2


def test_a_budget_that_was_spent_today(job):
    """What to do about a pending record depends on why the last run ended, and when."""
    job.store([("b", "beta")], run={"stop_reason": "budget_spent"})
    assert job.explain("a").advice == f"today's budget is spent; after 00:00 UTC: {COMMAND}"
    yesterday = (AT - timedelta(days=1)).isoformat()
    job.store(run={"stop_reason": "budget_spent", "finished_at": yesterday})
    assert job.explain("a").advice == COMMAND


def test_a_damaged_log_does_no_harm(job):
    """Whatever is in the log, the story is told."""
    job.store([("a", "alpha")])
    Path("out/run/events.jsonl").write_bytes(b'\x00"a"{{{\n"a"\n{"kind": "attempt", "ids": ["a"]')
    assert job.explain("a").attempts == []


# -- what to do next ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [Standing.FAILED, Standing.CHANGED])
def test_advice_during_a_run(state):
    """While a run holds the output, the next command has to wait for it."""
    seen = Glance(simulated=False, writer=123, last_run={})
    told = advise(state, ENTRY, FAILURE, seen, command=COMMAND, now=AT)
    assert told.startswith(f"when the run that goes on (pid 123) has ended: {COMMAND} --re")
    assert advise(Standing.PENDING, ENTRY, None, seen, command=COMMAND, now=AT) == "wait, a run is going on (pid 123)"


def test_advice_for_what_will_not_pass():
    """Sending again what the service refuses as it is would be in vain."""
    stored = replace(FAILURE, values={**FAILURE.values, "retryable": False})
    told = advise(Standing.FAILED, ENTRY, stored, None, command=COMMAND, now=AT)
    assert told == f"mend its text, then {COMMAND} --replace-changed"


# -- words --------------------------------------------------------------------------------------------------------


def test_words_of_a_record_that_is_done():
    """The whole story of an ordinary record is six lines."""
    attempts = (refused(3.5), refused(2.2, number=2))
    assert replace(TOLD, attempts=attempts).lines() == [
        "a: done",
        "  input     data.jsonl, row 7 (counted from 0)",
        '  text      "Some text." (10 characters)',
        "  price     about 0.0011 neurons, at most 0.0102 an attempt",
        "  attempts  2 without an answer, 2026-11-22 UTC:",
        "            08:29:56  3040  No room; again within 1.3 s",
        "            08:29:57  3040  No room; again within 1.8 s",
        "  row       results/part-00003.parquet, row 1,234",
        "            0.0009 neurons, 431 ms, attempt 2, 2026-11-22 08:30:00 UTC, @cf/baai/bge-m3",
    ]


def test_words_of_a_record_that_is_a_file():
    """Its path is no text that is sent: the file is, and its size is told."""
    entry = replace(ENTRY, text="audio/talk.mp3", file_bytes=1_234_567)
    told = replace(TOLD, entry=entry, shares_with="b")
    assert told.lines()[0] == "a: done, shares the answer of b (equal file)"
    assert told.lines()[2] == "  file      audio/talk.mp3 (1,234,567 bytes)"
    shown = told.to_json()["input"]
    assert (shown["path"], shown["bytes"]) == ("audio/talk.mp3", 1_234_567)
    assert not {"text", "characters"} & shown.keys()
    deep = replace(told, entry=replace(entry, text=f"{'folder/' * 90}talk.mp3")).lines()[2]
    assert len(deep) < 120
    assert deep.endswith("/folder/talk.mp3 (1,234,567 bytes)")
    stored = replace(FAILURE, values={**FAILURE.values, "retryable": False})
    advice = advise(Standing.FAILED, entry, stored, None, command=COMMAND, now=AT)
    assert advice == f"mend its file, then {COMMAND} --replace-changed"


def test_words_of_a_record_that_failed():
    """A failure says what happened, how often, and what to do."""
    attempts = (refused(2, neurons=0.25, n_records=30, code="timed_out"), refused(0, neurons=0.01, gave_up=True))
    told = replace(
        TOLD, state=Standing.FAILED, simulated=True, attempts=attempts, stored=FAILURE, advice="wai run job.yaml"
    )
    assert told.lines()[4:] == [
        "  attempts  2 without an answer, 2026-11-22 UTC:",
        "            08:29:58  timed_out  No room; request of 30; 0.25 neurons for all; again within 2.0 s",
        "            08:30:00  3040       No room; 0.01 neurons; given up",
        "  row       failures/part-00000.parquet, row 3",
        "            3043 (HTTP 500), 6 attempts, may pass another time, 2026-11-22 08:30:00 UTC",
        "            Internal error",
        "  next      wai run job.yaml",
    ]
    assert told.lines()[0] == "a: failed (simulated)"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": Standing.PENDING, "stored": None}, "a: pending"),
        (
            {"state": Standing.PENDING, "stored": None, "shares_with": "b"},
            "a: pending, shares the answer of b (equal text)",
        ),
        ({"state": Standing.CHANGED}, "a: changed since it was answered"),
        ({"state": Standing.CHANGED, "stored": FAILURE}, "a: changed since it failed"),
        ({"state": Standing.NOT_IN_INPUT, "entry": None}, "a: done, but not in the input any more"),
        (
            {"state": Standing.NOT_IN_INPUT, "entry": None, "stored": FAILURE},
            "a: failed, but not in the input any more",
        ),
    ],
)
def test_the_first_line_says_where_it_stands(changes, words):
    """One glance at the first line is enough."""
    told = replace(TOLD, **changes)
    assert told.lines()[0] == words
    assert told.to_json()["state"] == str(changes["state"])


def test_many_attempts_are_few_lines():
    """Of very many attempts the last are shown, with their days where these differ; JSON has all."""
    attempts = tuple(refused(86_400 * (n % 2) + 3, number=n) for n in range(40))
    told = replace(TOLD, attempts=attempts)
    lines = told.lines()
    assert len(lines) < 16
    assert "  attempts  40 without an answer, the last 6 (UTC):" in lines
    assert sum("2026-11-21 08:29:57" in line for line in lines) == 3
    assert len(told.to_json()["attempts"]) == 40


def test_waits_are_told_within_a_run_only():
    """The night between two runs is not a wait between two attempts, and nothing follows what was given up."""
    attempts = (refused(9_000), refused(8_000, run="run-2", gave_up=True), refused(7_000, run="run-2"))
    waits = [each["next_within_seconds"] for each in replace(TOLD, attempts=attempts).to_json()["attempts"]]
    assert waits == [None, None, None]


@pytest.mark.parametrize(("writer", "words"), [(5, "when the run ends, or before"), (None, "by the next run")])
def test_words_of_a_row_in_a_journal(writer, words):
    """A row in a journal is safe, and moves."""
    stored = replace(ROW, file="run/journal-000002.wal", row=None)
    told = replace(TOLD, stored=stored, writer=writer)
    assert f"  row       run/journal-000002.wal, moved to results/ {words}" in told.lines()
    assert told.to_json()["stored"]["row"] is None


def test_long_and_wild_texts_are_one_short_line():
    """Whatever a record holds, its story is lines of bounded length without control characters."""
    wild = "a\x1b[2J\r\nb\u202e\ud800 " * 100_000
    stored = replace(FAILURE, values={**FAILURE.values, "message": wild, "code": "\x07"})
    entry = replace(ENTRY, text=wild)
    told = replace(TOLD, entry=entry, stored=stored, attempts=(refused(3, message=wild),), id="a\nb\x9b")
    for line in told.lines():
        assert line.isprintable()
        assert len(line) < 400
    assert told.lines()[0] == "a\\nb\\x9b: done"
    assert len(told.to_json()["input"]["text"]) <= 72


# -- ids that are alike -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        ("doc-0042", "doc-00042"),
        ("DOC-00042", "doc-00042"),
        (" doc-00042", "doc-00042"),
        ("doc-00024 ", "doc-00024"),
        ("docs/doc-00099", "doc-00099"),
    ],
)
def test_slips_of_the_pen_are_recognised(wanted, nearest):
    """The id that was meant is among three, wherever it stands among very many."""
    near = Nearest(wanted)
    for n in range(5_000):
        near.see(f"doc-{n:05}")
    assert nearest in near.ids()
    assert len(near.ids()) <= 3


def test_upper_and_lower_case_are_alike():
    """Who types in capitals means the same record."""
    near = Nearest("ABCDEF")
    near.see("abcdef")
    near.see("abc")
    assert near.ids() == ["abcdef", "abc"]


def test_what_is_not_alike_is_not_named():
    """No suggestion is better than a wrong one; nothing is like nothing."""
    near = Nearest("completely different")
    near.see("doc-00001")
    assert near.ids() == []
    empty = Nearest("")
    empty.see("doc-00001")
    assert empty.ids() == []


def test_looking_for_alike_ids_is_bounded():
    """Ids of any length and number cost bounded memory and little time."""
    near = Nearest("a" * 1_000_000)
    for n in range(2_000):
        near.see("a" * 100_000 + str(n))
    assert len(near._best) <= 30
    assert len(near.ids()) == 3
