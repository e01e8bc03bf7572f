"""Terms of a glossary: read with care, found as words, and always translated in the same way."""

import pytest

from pipeline.errors import PlanError
from tests.support.fakes import record
from tests.support.translating import row_of, said_by
from tests.unit.test_tasks_translate import EN_DE, translate


@pytest.fixture
def with_terms(tmp_path):
    def make(lines, **params):
        path = tmp_path / "terms.csv"
        path.write_text(lines, encoding="utf-8")
        return translate(**{**EN_DE, **params}, glossary=str(path))

    return make


def shouted(adapter, text, **fields):
    row, street = row_of(adapter, text, said_by(str.upper), **fields)
    return row["translation"], [payload["text"] for _, payload in street.sent]


TERMS = """\
source,target
worker,Arbeiter
web worker,Netzarbeiter
Workers AI,Workers AI
C++,C++
.NET,.NET
"""


@pytest.mark.parametrize(
    ("text", "translation", "sent"),
    [
        ("The worker runs.", "THE Arbeiter RUNS.", "The [X1X] runs."),
        ("Worker one and WORKER two.", "Arbeiter ONE AND Arbeiter TWO.", "[X1X] one and [X2X] two."),
        ("A web\n  worker is a worker.", "A Netzarbeiter IS A Arbeiter.", None),
        ("Use Workers AI, not workers ai.", "USE Workers AI, NOT WORKERS AI.", "Use [X1X], not workers ai."),
        ("coworkers and worker-like", "COWORKERS AND Arbeiter-LIKE", "coworkers and [X1X]-like"),
        ("I know C++ and .NET well.", "I KNOW C++ AND .NET WELL.", "I know [X1X] and [X2X] well."),
        ("We use ASP.NET with C++11", "WE USE ASP.NET WITH C++11", "We use ASP.NET with C++11"),
        ("`worker` and https://worker.org/worker now", "`worker` AND https://worker.org/worker NOW", "and [X1X] now"),
    ],
)
def test_terms_are_found_as_words_the_longest_first(with_terms, text, translation, sent):
    found, texts = shouted(with_terms(TERMS), text)
    assert found == translation
    assert sent is None or texts == [sent]


def test_a_term_keeps_the_capital_of_its_place(with_terms):
    adapter = with_terms("source,target\nqueue,warteschlange\n")
    assert shouted(adapter, "Queue and queue.")[0] == "Warteschlange AND warteschlange."


def test_a_text_that_is_a_term_needs_no_model(with_terms):
    """Headings and cells often are."""
    adapter = with_terms(TERMS, format="markdown")
    text = "# Worker\n\nA worker does `x`.\n\n- web worker\n"
    assert shouted(adapter, text) == (
        "# Arbeiter\n\nA Arbeiter DOES `x`.\n\n- Netzarbeiter\n",
        ["A [X1X] does [X2X]."],
    )
    assert shouted(adapter, "worker")[0] == "Arbeiter"


def test_a_term_whose_mark_is_lost_is_in_its_place_all_the_same(with_terms):
    adapter = with_terms(TERMS)
    row, _ = row_of(adapter, "The worker runs on Monday.", said_by(lambda text: text.replace("[X1X] ", "").upper()))
    assert row["translation"] == "THE Arbeiter RUNS ON MONDAY."
    assert row["warnings"] == []


def test_terms_in_scripts_without_blanks_are_found_anywhere(with_terms):
    adapter = with_terms("source,target\n工人,Worker\n", source_lang="zh", target_lang="en")
    assert shouted(adapter, "这个工人很好。")[1] == ["这个[X1X]很好。"]


def test_lines_hold_for_their_languages(with_terms):
    lines = "source,target,source_lang,target_lang\nbank,Bank,en,de\nbank,banque,English,French\nbank,ALL,,\n"
    adapter = with_terms(lines, target_lang_column="to")
    for to, expected in (("de", "A Bank."), ("fr", "A banque."), ("es", "A ALL.")):
        assert shouted(adapter, "A bank.", to=to)[0] == expected


def test_a_changed_term_changes_the_records_it_is_in_and_no_piece(with_terms, tmp_path):
    """What is sent is the same, so no answer is paid for again."""
    items = [record(0, "A worker runs."), record(1, "Nobody runs.")]
    before = with_terms(TERMS)
    after = with_terms(TERMS.replace("worker,Arbeiter", "worker,Hilfskraft"))
    assert before.also_read != after.also_read
    keys = [[adapter.outline(item).payload_key for item in items] for adapter in (before, after)]
    assert keys[0][0] != keys[1][0]
    assert keys[0][1] == keys[1][1]
    assert before.pieces(items[0])[0].payload_key == after.pieces(items[0])[0].payload_key


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"terms.csv:1: should have the columns source,target"),
        (b"a,b\nx,y\n", r"terms.csv:1: .*not \"a,b\""),
        (b"source,target,note\nx,y,z\n", r"terms.csv:1: "),
        (b"source,target\n", r"terms.csv:1: holds no terms"),
        (b"source,target\nx,y\nz,\n", r"terms.csv:3: target is empty"),
        (b"source,target\nx,y\n,y\n", r"terms.csv:3: source is empty"),
        (b"source,target\nx,y\n\nx,z\n", r'terms.csv:4: "x" stands in line 2 already'),
        (b"source,target\nx,y,z\n", r"terms.csv:2: has 3 cells for 2 columns"),
        (b"source,target\n!!,y\n", r"terms.csv:2: .*no letters"),
        (b'source,target\n"x,y\n', r"terms.csv:\d: is not CSV"),
        (b"source,target\nx,\xff\n", r"terms.csv:2: is not UTF-8"),
        (b"source,target,source_lang\nx,y,xx\n", r"terms.csv:2: source_lang: .*xx"),
    ],
)
def test_a_glossary_that_is_none_is_refused_with_its_line(tmp_path, content, said):
    path = tmp_path / "terms.csv"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=said) as caught:
        translate(**EN_DE, glossary=str(path))
    assert caught.value.key == "params.glossary"


@pytest.mark.parametrize(
    ("given", "said"), [("missing.csv", "cannot be read"), (5, "path of a CSV file"), ("", "path")]
)
def test_a_glossary_that_cannot_be_read_is_refused(given, said):
    with pytest.raises(PlanError, match=said):
        translate(**EN_DE, glossary=given)


def test_a_format_that_is_none_is_refused():
    with pytest.raises(PlanError, match="auto, text, markdown or html") as caught:
        translate(**EN_DE, format="rst")
    assert caught.value.key == "params.format"
