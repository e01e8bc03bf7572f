"""Answers that may not stand are asked for again in parts; the others stay, and what is left is spoken of."""

import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RequestTooLarge, UnreadableAnswer
from pipeline.records import Request
from pipeline.rows import outline_of
from tests.support.fakes import record
from tests.support.handbooks import handbook, lost_placeholders, skeleton
from tests.support.translating import row_of, said_by
from tests.unit.test_tasks_translate import EN_DE, translate

MARK = re.compile(r"\[X\d+X\]")
PAGE = """\
# One title here

Plain text without anything in it.

The file `a.py` and {name} are read by %d people.

- Another plain line.
- See [the manual](https://x.org) for more.
"""


def sent(street):
    return [payload["text"] for _, payload in street.sent]


def without_marks(text):
    return MARK.sub("", text).upper()


def spoken_of(row):
    """The warnings, but for those of a guard: a model that shouts does not translate."""
    return [warning for warning in row["warnings"] if "it is the text itself" not in warning]


def test_a_damaged_piece_alone_is_asked_for_again_between_its_shields():
    """What was answered well stays, and is not sent again."""
    row, street = row_of(translate(**EN_DE), PAGE, said_by(without_marks), source="x.md")
    texts = sent(street)
    assert texts[:5] == [
        "One title here",
        "Plain text without anything in it.",
        "The file [X1X] and [X2X] are read by [X3X] people.",
        "Another plain line.",
        "See [X1X]the manual[X2X] for more.",
    ]
    assert texts[5:] == ["The file", "and", "are read by", "people.", "See", "the manual", "for more."]
    assert row["translation"] == PAGE.upper().replace("`A.PY`", "`a.py`").replace("{NAME}", "{name}").replace(
        "%D", "%d"
    ).replace("HTTPS://X.ORG", "https://x.org")
    assert spoken_of(row) == []
    assert {piece.stage for request, _ in street.sent[5:] for piece in request.pieces} == {1}


def test_what_cannot_be_mended_stands_as_in_the_source_and_is_spoken_of():
    """A model that adds markup to whatever it is asked."""
    adapter = translate(**EN_DE, format="html")
    text = "<p>Read <b>this</b> now\n<p>And it is good."
    row, _ = row_of(adapter, text, said_by(lambda asked: f"<i>{asked.upper()}" if "<" not in asked else asked))
    assert row["translation"].startswith("<p>&lt;i&gt;READ <b>THIS</b> NOW")
    row, _ = row_of(adapter, text, said_by(lambda _: "[X9X]"))
    assert row["translation"] == text
    assert [warning.split(":")[0] for warning in row["warnings"]] == ["line 1"] * 3 + ["line 2"]
    assert row["warnings"][0] == ('line 1: a mark came back that was not sent; left as in the source: "Read"')


@pytest.mark.parametrize(
    ("text", "answers", "translation"),
    [
        ("`x`, which is good", ["das ist gut"], "`x` das ist gut"),
        ("`x` which is (`y`", ["was ist"], "`x` was ist `y`"),
        ("**(one) two** three", ["eins zwei[X1X] drei"], "**eins zwei** drei"),
        ("It is _so_, yes", ["Es ist so ja", "Es ist", "so", "ja"], "Es ist _so_ ja"),
        ("all user{n}s go", ["alle", "alle user", "n gehen"], "alle user{n}n gehen"),
    ],
)
def test_words_do_not_run_into_shields_that_are_not_sent(text, answers, translation):
    """Where punctuation touched one in the source and a word would in the translation."""
    given = iter(answers)
    row, _ = row_of(translate(**EN_DE), text, said_by(lambda _: next(given)), source="x.md")
    assert row["translation"] == translation


def test_a_part_that_fails_for_good_leaves_its_source():
    """The record has cost too much to fail for it."""

    def answer(_request, payload):
        if payload["text"] == "and":
            raise UnreadableAnswer("no")
        return {"translated_text": without_marks(payload["text"])}

    row, _ = row_of(translate(**EN_DE), PAGE, answer, source="x.md")
    assert "THE FILE `a.py` and {name} ARE READ" in row["translation"]
    assert spoken_of(row) == ['line 5: no usable answer came; left as in the source: "and"']


def test_a_part_that_is_too_large_is_halved_and_keeps_what_it_carries():
    long = "word " * 30
    text = f"First one.\n\n{long}{{name}} {long}end."

    def answer(_request, payload):
        if len(payload["text"]) > 100 and "[X" not in payload["text"]:
            raise RequestTooLarge(413, 3006, "too large")
        return {"translated_text": without_marks(payload["text"])}

    row, street = row_of(translate(**EN_DE), text, answer, source="x.md")
    assert row["translation"].replace("{name}", "{NAME}") == text.upper()
    assert any(piece.stage == 1 and piece.part for request, _ in street.sent for piece in request.pieces)
    assert spoken_of(row) == []


@pytest.mark.parametrize("source", ["a.md", "a.txt"])
@pytest.mark.parametrize("text", ["https://example.org/a", "{name} %s", "```\ncode here\n```\n", "`x`\n\n12 {y}\n"])
def test_a_text_of_which_nothing_is_translated_stays(text, source):
    """Nothing is sent for it."""
    if text.startswith("```") and source == "a.txt":
        return
    row, street = row_of(translate(**EN_DE), text, said_by(lambda _: "something else"), source=source)
    assert row["translation"] == text
    assert row["warnings"] == []
    assert street.sent == []


def test_texts_that_differ_in_what_is_shielded_share_their_pieces_and_not_their_rows():
    adapter = translate(**EN_DE)
    (one,) = adapter.pieces(record(0, "Hello {name} there"))
    (other,) = adapter.pieces(record(1, "Hello {user} there"))
    assert one.payload_key == other.payload_key
    assert one.record_key != other.record_key


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_a_wrapped_line_that_begins_with_a_shield_belongs_to_its_sentence(name):
    text = "This paragraph is wrapped at a fixed width, and there is\n`code` at the beginning of its second line."
    _, street = row_of(translate(**EN_DE), text, said_by(str.upper), source=name)
    assert sent(street) == [text.replace("\n", " ").replace("`code`", "[X1X]")]


def test_the_outline_is_that_of_the_masked_pieces():
    adapter = translate(**EN_DE, format="markdown")
    item = record(0, handbook(20_000))
    pieces = adapter.pieces(item)
    assert adapter.outline(item) == outline_of(pieces)
    assert all(piece.size == len(adapter.payload(Request((piece,)))["text"].encode()) <= 400 for piece in pieces)


def test_no_piece_has_more_than_two_hundred_words():
    """So an answer that is cut after two hundred of them loses none: 400 bytes hold no more, one letter each."""
    adapter = translate(**EN_DE)
    pieces = adapter.pieces(record(0, "a " * 5_000 + handbook(50_000)))
    assert max(len(str(piece.content).split()) for piece in pieces) == 200


@given(st.integers(0, 10_000), st.sampled_from([2, 5, 20]))
@settings(max_examples=15, deadline=None)
def test_whatever_happens_to_marks_the_structure_stays_and_placeholders_are_there_or_spoken_of(seed, one_in):
    """A model that loses, doubles, breaks and renumbers marks by chance, and writes markup of its own."""
    draw = random.Random(seed)
    source = handbook(4_000, seed=seed)

    def mangle(match):
        if draw.randrange(one_in):
            return match[0]
        return draw.choice(["", match[0] * 2, "[X77X]", match[0][:-1], " ", match[0].lower(), "(X1X)", "**"])

    def said(text):
        before, after = (
            draw.choice(["1. ", "- ", "> ", "# ", *[""] * 30]),
            draw.choice([" *a* [b](c) | <i>", *[""] * 30]),
        )
        return f"{before}{MARK.sub(mangle, text.upper())}{after}" or "x"

    row, _ = row_of(translate(**EN_DE), source, said_by(said), source="h.md")
    assert skeleton(row["translation"]) == skeleton(source)
    flagged = [int(re.match(r"line (\d+): ", warning)[1]) for warning in row["warnings"]]
    for first, last in lost_placeholders(source, row["translation"]):
        assert any(first <= line < last for line in flagged), first


def test_a_long_text_takes_no_longer_than_its_length():
    """Half a megabyte is cut in a second or two of processor time."""
    adapter = translate(**EN_DE, format="markdown")
    begun = time.process_time()
    assert len(adapter.pieces(record(0, handbook(500_000)))) > 3_000
    assert time.process_time() - begun < 4
