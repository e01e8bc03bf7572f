"""Cutting loses nothing: for any text, the segments and what lies between them are the text, and none is too large."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.emulator.tokens import count_tokens
from pipeline.segments import beginning, halves, has_letters, passages, segments, size_of
from pipeline.tasks.base import token_bound
from pipeline.tasks.longtext import cautious_tokens

WORDS = st.sampled_from(
    [
        "Hello",
        "Dr.",
        "wörld",
        "e.g.",
        "日本語です。",
        "次の文！",  # noqa: RUF001 - Japanese
        "ภาษาไทย",
        "हिन्दी।",
        "1.",
        "- ",
        "#",
        "42",
        "…",
        ",",
        "(so)",
        "🎉",
        "👩‍👩‍👧🏽",
        "e\u0301\u0302",
        "﷽",
        "x" * 30,
        "word " * 12,
        "\n",
        "\r\n",
        "\n\n",
        "\t",
        "  ",
        "\u2028",
        "\x85",
        "\x1c",
    ]
)
TEXTS = st.one_of(
    st.lists(WORDS, max_size=30).map("".join),
    st.lists(WORDS, max_size=30).map(" ".join),
    st.text(max_size=200),
    st.text(st.characters(), max_size=60),
)
LANGUAGES = st.sampled_from(["en", "de", "ja", "zh", "th", "hi", "ar", "xx", ""])


def check(text, parts, most):
    at = 0
    for part in parts:
        assert at <= part.start < part.end
        assert part.text == text[part.start : part.end] == part.text.strip()
        assert size_of(part.text) <= most
        at = part.end


@given(TEXTS, st.integers(4, 120), LANGUAGES)
def test_passages_leave_nothing_but_white_space_between_them(text, most, language):
    parts = passages(text, most=most, language=language)
    check(text, parts, most)
    places = [0, *(place for part in parts for place in (part.start, part.end)), len(text)]
    between = [text[start:end] for start, end in zip(places[::2], places[1::2], strict=True)]
    assert not "".join(between).strip()
    assert all(size_of(text[a.start : b.end]) > most for a, b in pairwise(parts))


@given(TEXTS, st.integers(4, 120), LANGUAGES)
def test_segments_leave_nothing_but_white_space_and_markers_between_them(text, most, language):
    parts = segments(text, most=most, language=language)
    check(text, parts, most)
    assert bool(parts) == bool(text.strip())
    rest, at = [], 0
    for part in parts:
        rest.append(text[at : part.start])
        at = part.end
    left = "".join([*rest, text[at:]])
    assert sum(map(str.isalpha, left)) <= len(parts)  # "a) " is a marker


@given(TEXTS.filter(str.strip), LANGUAGES)
def test_halves_are_parts_of_what_was_cut(text, language):
    (whole,) = passages(text, most=10**6, language=language)
    parts = halves(whole, language=language)
    assert len(parts) != 1
    check(text, parts, max(4, size_of(whole.text) - 1))
    assert "".join("".join(part.text for part in parts).split()) == "".join(text.split()) or not parts
    assert parts or size_of(whole.text) <= 64 or not has_letters(text)


@pytest.mark.parametrize("cut", [segments, passages])
def test_a_limit_below_one_character_is_refused(cut):
    with pytest.raises(ValueError, match="most"):
        cut("x", most=3, language="en")


@given(TEXTS.filter(str.strip), st.integers(32, 80), LANGUAGES)
def test_parts_that_are_measured_in_tokens(text, most, language):
    """The same for any measure that a part's neighbours can only add to; the first part is the beginning."""
    parts = passages(text, most=most, language=language, measure=cautious_tokens)
    assert all(text[part.start : part.end] == part.text == part.text.strip() for part in parts)
    assert all(cautious_tokens(part.text) <= most for part in parts)
    assert "".join("".join(part.text.split()) for part in parts) == "".join(text.split())
    first = beginning(text, most=most, language=language, measure=cautious_tokens)
    assert text.strip().startswith(first.text)
    assert 0 < cautious_tokens(first.text) <= most


@given(st.lists(WORDS, max_size=30), st.integers(0, 30))
def test_the_guess_of_tokens_is_never_above_that_of_its_parts(words, at):
    """What `passages` relies on; nor above the bytes, which bound the tokens of any text."""
    whole = " ".join(words)
    first = " ".join(words[:at]).rstrip()
    assert cautious_tokens(whole) <= cautious_tokens(first) + cautious_tokens(whole[len(first) :])
    assert cautious_tokens(whole) <= token_bound(whole)
    assert cautious_tokens(whole) >= count_tokens(whole), "the stand-in counts fewer, as real tokenizers do"
