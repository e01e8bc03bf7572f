"""Where a text is cut, by example; that nothing is lost is tests/property/test_segments_properties.py."""

import time

import pytest

from pipeline.segments import Segment, halves, passages, segments


def cut(text, most=400, language="en"):
    return [part.text for part in segments(text, most=most, language=language)]


def test_a_short_text_stays_whole():
    """Sentences of one line travel together as long as they fit."""
    assert cut("  Dr. Smith came. He saw. ") == ["Dr. Smith came. He saw."]


def test_lines_are_cut_apart_and_markers_left_out():
    """A heading, list items and paragraphs are texts of their own."""
    text = "# Title\n\nFirst line.\nSecond line.\n- one\n* two\n  3. three\n> b) four\n---\n"
    assert cut(text) == ["Title", "First line.", "Second line.", "one", "two", "three", "four", "---"]


WRAPPED = "This paragraph is wrapped at a fixed width, so a sentence\ngoes on in the next line. And it ends here."


@pytest.mark.parametrize(
    ("text", "n"),
    [
        (WRAPPED, 1),
        (WRAPPED.replace("\n", "\r\n"), 1),
        (WRAPPED.replace("\n", '\n"so to say" '), 1),
        (WRAPPED.replace("\n", "\n  "), 2),
        (WRAPPED.replace("\n", "\n- "), 2),
        (WRAPPED.replace("\n", ".\n"), 2),
        (WRAPPED.replace("\n", "\n\n"), 2),
        ("Roses are red\nviolets are blue", 2),
    ],
)
def test_a_wrapped_line_goes_on_and_others_do_not(text, n):
    """Long lines without an end go on; short lines, other margins, lists and blank lines do not."""
    assert len(cut(text)) == n


@pytest.mark.parametrize(
    ("text", "language", "most", "parts"),
    [
        ("One is here. Two is there. Three.", "en", 27, ["One is here. Two is there.", "Three."]),
        ("これは文です。次の文です！はい。", "ja", 21, ["これは文です。", "次の文です！", "はい。"]),  # noqa: RUF001
        ("यह वाक्य है। दूसरा।", "hi", 36, ["यह वाक्य है।", "दूसरा।"]),
        ("He ran, she walked, they flew", "en", 20, ["He ran, she walked,", "they flew"]),
        ("first，second，third", "zh", 9, ["first，", "second，", "third"]),  # noqa: RUF001
        ("some words without any end", "en", 12, ["some words", "without any", "end"]),
        ("สวัสดี", "th", 9, ["สวั", "สดี"]),
        ("aaaaaaaaaa", "en", 4, ["aaaa", "aaaa", "aa"]),
        ("ae\u0301" * 2, "en", 6, ["ae\u0301a", "e\u0301"]),
        ("👩‍👩‍👧👩‍👩‍👧", "en", 20, ["👩‍👩‍👧", "👩‍👩‍👧"]),
    ],
)
def test_what_is_too_long_is_cut_at_the_best_place_there_is(text, language, most, parts):
    """Sentences, clauses, words, then characters with their marks; scripts without spaces too."""
    assert cut(text, most, language) == parts


def test_passages_are_as_few_as_fit():
    """Paragraphs travel together; a cut falls between them where it can."""
    text = "One one one.\n\nTwo two.\n\nThree three three."
    assert [part.text for part in passages(text, most=25, language="en")] == [
        "One one one.\n\nTwo two.",
        "Three three three.",
    ]


def test_halves_know_their_places_in_the_whole():
    """They are cut out of a segment and stand where it stood."""
    parts = halves(Segment(100, 125, "Hello there. How are you?"), language="en")
    assert parts == [Segment(100, 112, "Hello there."), Segment(113, 125, "How are you?")]
    assert halves(Segment(0, 1, "x"), language="en") == []


@pytest.mark.parametrize(
    "text", ["a " * 50_000, ". " * 50_000, "x" * 100_000, "- " * 50_000, "字" * 30_000, "1. " * 30_000]
)
def test_long_and_strange_texts_are_cut_in_reasonable_time(text):
    """No expression that backtracks."""
    assert segments(text, most=400, language="en")


def test_sentences_of_a_long_paragraph_are_found_in_steps():
    """100 kB in which sentencex itself looks back from every character, 9 s; a sentence longer than a step is whole."""
    begun = time.process_time()
    assert segments("a " + "![" * 50_000, most=400, language="en")[-1].end == 100_002
    assert time.process_time() - begun < 2
    sentences = ["word " * 1_500 + "end.", *(f"This is sentence {number} of many." for number in range(900))]
    text = " ".join(sentences)
    first, *others = passages(text, most=7_510, language="en")
    assert first.text == sentences[0]
    assert all(found.text.endswith("many.") for found in others)
