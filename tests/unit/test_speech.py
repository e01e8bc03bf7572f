"""Answers of speech models: reading, doubting, putting together, subtitles."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tasks.speech.answers import read_answer, segments_of
from pipeline.tasks.speech.carrying import MOST_BYTES, MOST_CHARACTERS, text_before
from pipeline.tasks.speech.doubts import compression, is_loop, judge, kept_with_warning, without
from pipeline.tasks.speech.seams import cut_shared, joined
from pipeline.tasks.speech.subtitles import LINE, LONGEST_S, cues_of, srt_of, vtt_of
from pipeline.tasks.speech.texts import glued, text_of
from pipeline.tasks.speech.transcript import put_together


def word(text, start, end=None):
    return {"word": text, "start": start, "end": start + 0.3 if end is None else end, "confidence": None}


def words(text, start=0.0, step=0.5):
    return [word(each, start + at * step) for at, each in enumerate(text.split())]


def said(text, start, end, *, with_words=True, **more):
    """An answer for one piece; its words stand half a second apart."""
    return read_answer({"text": text, "words": words(text) if with_words else None, **more}, start=start, end=end)


TURBO = {
    "text": " Hello there. You too.",
    "word_count": 4,
    "transcription_info": {"language": "en", "language_probability": 0.99, "duration": 4.0},
    "segments": [
        {"start": 0.0, "end": 1.5, "text": " Hello there.", "temperature": 0, "avg_logprob": -0.1,
         "compression_ratio": 1.0, "no_speech_prob": 0.01,
         "words": [{"word": " Hello", "start": 0.0, "end": 0.5}, {"word": " there.", "start": 0.6, "end": 1.5}]},
        {"start": 2.0, "end": 9.0, "text": " You too."},
    ],
}  # fmt: skip
NOVA = {
    "results": {
        "channels": [
            {
                "alternatives": [
                    {
                        "transcript": "hello there you",
                        "confidence": 0.98,
                        "words": [
                            {"word": "hello", "start": 0.1, "end": 0.4, "confidence": 0.9, "punctuated_word": "Hello"},
                            {"word": "there", "start": 0.5, "end": 0.8, "confidence": 0.8},
                            {"word": "you", "start": 3.0, "end": 3.2, "confidence": 0.7},
                        ],
                    }
                ]
            }
        ]
    }
}


def test_whispers_larger_form():
    """Times are the file's; an end behind the piece's is the piece's."""
    heard = read_answer(TURBO, start=100.0, end=104.0)
    assert heard["text"] == "Hello there. You too."
    assert (heard["language"], heard["is_sure"]) == ("en", True)
    assert [(s["start"], s["end"], s["text"]) for s in heard["segments"]] == [
        (100.0, 101.5, "Hello there."),
        (102.0, 104.0, "You too."),
    ]
    assert heard["segments"][0]["avg_logprob"] == -0.1
    assert heard["segments"][1]["avg_logprob"] is None
    assert [(w["word"], w["start"]) for w in heard["words"]] == [(" Hello", 100.0), (" there.", 100.6)]


def test_whispers_smaller_form():
    """Segments are made of words: at pauses and at the end of sentences."""
    result = {"text": "One two. Three four", "word_count": 4, "words": words("One two. Three four"), "vtt": "WEBVTT"}
    heard = read_answer(result, start=10.0, end=20.0)
    assert [(s["start"], s["end"], s["text"]) for s in heard["segments"]] == [
        (10.0, 10.8, "One two."),
        (11.0, 11.8, "Three four"),
    ]
    assert (heard["language"], heard["is_sure"]) == (None, False)


def test_deepgrams_form():
    heard = read_answer(NOVA, start=5.0, end=10.0)
    assert heard["text"] == "hello there you"
    assert [w["word"] for w in heard["words"]] == ["Hello", "there", "you"]
    assert heard["words"][0]["confidence"] == 0.9
    assert [(s["start"], s["text"]) for s in heard["segments"]] == [(5.1, "Hello there"), (8.0, "you")]


def test_a_text_alone_is_one_segment():
    heard = read_answer({"text": "Hi"}, start=3.0, end=4.0)
    assert [(s["start"], s["end"], s["text"]) for s in heard["segments"]] == [(3.0, 4.0, "Hi")]


def test_silence_is_an_empty_answer():
    for result in ({"text": ""}, {"text": "", "segments": [], "words": None}, {"text": " ", "vtt": "WEBVTT\n"}):
        heard = read_answer(result, start=0.0, end=1.0)
        assert (heard["text"], heard["segments"], heard["words"]) == ("", [], [])


@given(
    st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), max_size=10),
    st.floats(0, 1000),
    st.floats(0.1, 60),
)
def test_times_are_in_order_and_inside_the_piece(times, start, length):
    segments = [{"start": a, "end": b, "text": "x"} for a, b in times]
    heard = read_answer({"text": "x", "segments": segments}, start=start, end=start + length)
    latest = round(start, 3)
    for segment in heard["segments"]:
        assert latest - 0.0006 <= segment["start"] <= segment["end"] <= start + length + 0.0006
        latest = segment["start"]


# -- doubts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("thank you " * 4, True),
        ("Thank you. Thank you, thank you!", False),
        ("so so so so so so so so", True),
        ("no, no, no, no", False),
        ("We went to the market and then to the market and then home.", False),
        ("I am going to go. " * 4, True),
        ("ご視聴ありがとうございました" * 6, True),
        ("ha" * 12, True),
        ("the of and to a in for is on that by this with you it not or be are from at as", False),
        ("", False),
    ],
)
def test_loops(text, is_one):
    assert is_loop(text) is is_one


def test_compression_is_that_of_longer_texts():
    assert compression("a" * 199) == 0.0
    assert compression("a" * 200) > 2.4
    assert compression("The quick brown fox jumps over the lazy dog while seven wizards boil odd potions. " * 1) == 0.0


@pytest.mark.parametrize(
    ("figures", "speech", "reasons"),
    [
        ({}, 5.0, ()),
        ({"compression_ratio": 2.5}, 5.0, ("compression",)),
        ({"compression_ratio": 2.4}, 5.0, ()),
        ({"no_speech_prob": 0.7, "avg_logprob": -1.2}, 5.0, ("no_speech",)),
        ({"no_speech_prob": 0.7, "avg_logprob": -0.5}, 5.0, ()),
        ({"no_speech_prob": 0.7}, 5.0, ()),
        ({}, 0.05, ("silence",)),
    ],
)
def test_what_is_doubted(figures, speech, reasons):
    segment = {"start": 0.0, "end": 2.0, "text": "Good evening", **figures}
    heard = read_answer({"text": "Good evening", "segments": [segment]}, start=0.0, end=10.0)
    assert judge(heard, speech).reasons == reasons


def test_only_what_is_doubtful_is_dropped():
    """The segment goes with its words; the rest stays as it was."""
    segments = [
        {"start": 0.0, "end": 1.0, "text": "Good evening", "words": words("Good evening")},
        {"start": 4.0, "end": 6.0, "text": "uh uh", "compression_ratio": 9.0, "words": words("uh uh", 4.0)},
    ]
    heard = read_answer({"text": "Good evening uh uh", "segments": segments}, start=10.0, end=20.0)
    left = without(heard, judge(heard, 5.0))
    assert left["text"] == "Good evening"
    assert [w["word"] for w in left["words"]] == ["Good", "evening"]
    assert left["warnings"] == [
        "10.0-20.0 s: dropped after a second try, it repeats itself (compression ratio above 2.4): 'uh uh'"
    ]
    kept = kept_with_warning(heard, judge(heard, 5.0))
    assert kept["text"] == heard["text"]
    assert "perhaps made up" in kept["warnings"][0]


# -- seams ----------------------------------------------------------------------------------------------------------


def texts(answers):
    return [each["text"] for each in joined(answers)]


def test_pieces_that_touch_are_left_as_they_are():
    first, second = said("one two", 0.0, 10.0), said("two three", 10.0, 20.0)
    assert joined([second, first]) == [first, second]


def test_words_that_both_heard_are_kept_once():
    """The second piece begins a second earlier than the first ends."""
    first = said("a b c d e f g h i j", 0.0, 5.0)
    second = said("i j k l", 4.0, 9.0)
    assert texts([first, second]) == ["a b c d e f g h i j", "k l"]
    assert joined([first, second])[1]["words"][0]["start"] == 5.0


def test_a_word_that_one_of_them_heard_cut_off():
    """What stands before and behind the common words is taken from whoever heard it whole."""
    first = said("a b c d e f g h i ja", 0.0, 5.0)
    second = said("i january k", 4.0, 9.0)
    assert texts([first, second]) == ["a b c d e f g h i", "january k"]


def test_without_a_common_word_the_middle_decides():
    first = said("a b c d e f g h x y", 0.0, 5.0)
    second = said("v w k", 4.0, 9.0)
    assert texts([first, second]) == ["a b c d e f g h x", "w k"]


def test_the_same_word_at_another_time_is_another_word():
    tail, head = [word("the", 4.0)], [word("the", 4.9)]
    assert cut_shared(tail, head, 4.5) == (1, 0)


def test_without_times_of_words_texts_are_compared():
    first = said("we went to the market.", 0.0, 5.0, with_words=False)
    second = said("The market was closed", 4.0, 9.0, with_words=False)
    assert texts([first, second]) == ["we went to the market.", "was closed"]
    assert joined([first, second])[1]["segments"][0]["text"] == "was closed"


@given(st.lists(st.sampled_from("abcdefgh"), min_size=4, max_size=24), st.data())
def test_a_speech_cut_anywhere_is_put_together_again(letters, data):
    """Whatever is repeated in it: two overlapping hearings of the same words make those words."""
    speech = [word(letter, round(0.3 * at, 3), round(0.3 * at + 0.2, 3)) for at, letter in enumerate(letters)]
    length = 0.3 * len(letters)
    cut = data.draw(st.floats(0.6, length - 0.3))
    low, high = max(0.0, cut - 0.5), min(length, cut + 0.5)

    def hear(start, end):
        inside = [w for w in speech if w["start"] >= start and w["end"] <= end]
        shifted = [{**w, "start": w["start"] - start, "end": w["end"] - start} for w in inside]
        return read_answer({"text": " ".join(w["word"] for w in inside), "words": shifted}, start=start, end=end)

    both = joined([hear(0.0, high), hear(low, length)])
    assert [w["word"] for each in both for w in each["words"]] == letters
    assert " ".join(each["text"] for each in both if each["text"]).split() == letters


def test_scripts_without_spaces_are_joined_without():
    assert glued(["こんにちは。", "元気ですか", "Yes", "", "no"]) == "こんにちは。元気ですか Yes no"


def test_the_language_is_that_of_most_of_the_text():
    answers = [said("a much longer sentence", 0, 5), said("kurz", 5, 9)]
    answers[0]["language"], answers[1]["language"] = "en", "de"
    value = {"seconds": 9.0, "sent": 9.0, "heard": answers, "problems": ["odd"]}
    whole = put_together([value])
    assert (whole.language, whole.warnings) == ("en", ["odd"])
    assert whole.text == "a much longer sentence kurz"


# -- subtitles ------------------------------------------------------------------------------------------------------

TOKENS = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=60)
SPEECH = st.lists(st.tuples(TOKENS, st.floats(0.0, 3.0), st.floats(0.05, 2.0)), max_size=40)


@given(SPEECH, st.booleans())
def test_cues_are_as_people_expect_them(spoken, with_words):
    at, timed = 0.0, []
    for text, pause, length in spoken:
        timed.append(word(text, at + pause, at + pause + length))
        at += pause + length
    cues = cues_of(segments_of(timed), timed if with_words else [])
    for before, after in zip([None, *cues], cues, strict=False):
        assert 1 <= len(after.lines) <= 2
        assert all(0 < len(line) <= LINE for line in after.lines)
        assert after.start < after.end <= after.start + LONGEST_S + 1e-6
        assert before is None or before.end <= after.start + 1e-9
    shown = "".join("".join(cue.lines) for cue in cues).replace(" ", "")
    assert shown == "".join(each["word"] for each in timed)


def test_a_short_word_stays_for_a_second():
    (cue,) = cues_of(segments_of([word("Yes.", 1.0, 1.2)]), [word("Yes.", 1.0, 1.2)])
    assert (cue.start, cue.end) == (1.0, 2.0)


def test_nobody_reads_a_cue_for_longer_than_seven_seconds():
    """A cue is full after that time, and stands until its last word is spoken; a long held one goes earlier."""
    slow = [word(letter, 1.5 * at, 1.5 * at + 1.2) for at, letter in enumerate("abcdefgh")]
    cues = cues_of([], slow)
    assert [(cue.start, cue.end, cue.lines) for cue in cues] == [
        (0.0, pytest.approx(5.7), ("a b c d",)),
        (6.0, pytest.approx(11.7), ("e f g h",)),
    ]
    (held,) = cues_of([], [word("Ooooh", 0.0, 12.0)])
    assert (held.start, held.end) == (0.0, 7.0)


def test_no_word_is_lost_where_times_leave_no_room():
    """A model may put much of what it says at one moment; cues are half a second apart at least."""
    crowd = [word(f"word{n}", 30.0, 30.0) for n in range(60)]
    cues = cues_of([], [word("Before.", 28.0, 29.0), *crowd, word("after", 40.0)])
    assert " ".join(" ".join(cue.lines) for cue in cues).split() == ["Before.", *(w["word"] for w in crowd), "after"]
    assert all(cue.end - cue.start >= 0.5 for cue in cues)
    assert all(before.end <= after.start for before, after in pairwise(cues))
    assert cues[-1].start == 40.0


def test_a_segment_without_words_among_words_keeps_the_order():
    """Its time is spread over its text, also where the words before it end later."""
    first = {**segments_of([word("one", 0.0), word("two", 9.0, 10.0)])[0], "end": 10.0, "text": "one two"}
    second = {**first, "start": 8.0, "end": 12.0, "text": "three four"}
    cues = cues_of([first, second], [word("one", 0.0), word("two", 9.0, 10.0)])
    assert " ".join(" ".join(cue.lines) for cue in cues) == "one two three four"
    assert all(before.end <= after.start for before, after in pairwise(cues))


def test_a_word_with_a_line_break_breaks_no_format():
    """An empty line would end the cue."""
    (cue,) = cues_of([], [word("one\n\ntwo\u2028", 0.0), word("\n", 0.4), word("three", 0.5)])
    assert cue.lines == ("one two three",)


def test_a_sentence_is_a_cue_and_long_ones_are_balanced():
    spoken = words("Short one here now. And then a much longer sentence that needs two lines of text.", step=0.3)
    cues = cues_of(segments_of(spoken), spoken)
    assert [cue.lines for cue in cues] == [
        ("Short one here now.",),
        ("And then a much longer sentence", "that needs two lines of text."),
    ]


def test_the_two_formats():
    cues = cues_of([], [word("a<b>&", 3661.5, 3663.0)])
    assert srt_of(cues) == "1\n01:01:01,500 --> 01:01:03,000\na<b>&\n"
    assert vtt_of(cues) == "WEBVTT\n\n01:01:01.500 --> 01:01:03.000\na&lt;b&gt;&amp;\n"
    assert (srt_of([]), vtt_of([])) == ("", "WEBVTT\n")
    assert re.search(r"\n\n2\n", srt_of(cues * 2))


def test_words_of_scripts_without_spaces_get_none():
    """Chinese, Japanese, Thai, Lao, Burmese: Whisper's words of them are signs."""
    signs = [word(sign, 0.5 * at) for at, sign in enumerate("\u4f60\u597d\u3002\u518d\u89c1")]
    assert text_of(signs) == "\u4f60\u597d\u3002\u518d\u89c1"
    assert text_of([word("\u1000\u1031", 0), word("\u1005", 1), word("OK", 2)]) == "\u1000\u1031\u1005 OK"
    assert cues_of([], signs)[0].lines == ("\u4f60\u597d\u3002",)
    assert segments_of(signs)[0]["text"] == "\u4f60\u597d\u3002"


def test_words_that_bring_their_space_get_no_other():
    assert text_of([word(" Hello", 0), word(",", 0.5), word(" you", 1.0)]) == "Hello, you"


# -- what was said before -------------------------------------------------------------------------------------------


def told(*texts, at=None, warned=(), **more):
    """What a piece is told that comes behind pieces of ten seconds each."""
    answers = [said(text, 10.0 * n, 10.0 * n + 10.0, **more) for n, text in enumerate(texts)]
    for n in warned:
        answers[n]["warnings"] = ["perhaps made up"]
    return text_before(answers[::-1], 10.0 * len(texts) if at is None else at)


@pytest.mark.parametrize(
    ("texts", "more", "expected"),
    [
        ((), {}, ""),
        (("One.", "Two."), {}, "One. Two."),
        (("One.", "", "Three."), {}, "One. Three."),
        (("One.", "Two.", "Three."), {"at": 20.0}, "One. Two."),
        (("One.", "Two.", "Three."), {"warned": [0]}, "Two. Three."),
        (("One.", "Two.", "Three."), {"warned": [2]}, ""),
        (("Thank you.",) * 4, {}, ""),
        (("We thank you.", *("Thank you.",) * 2), {}, "We thank you. Thank you. Thank you."),
        (("one two three four",), {"at": 1.0}, "one two"),
        (("one two three four",), {"at": 1.0, "with_words": False}, "one two three four"),
        (("\u4f60\u597d\u3002", "\u518d\u89c1\u3002"), {}, "\u4f60\u597d\u3002\u518d\u89c1\u3002"),
        (("half a \ud800 pair",), {"with_words": False}, "half a ? pair"),
    ],
)
def test_what_is_carried(texts, more, expected):
    """What was heard behind the beginning of the next piece is left to it; doubts and loops end what is carried."""
    assert told(*texts, **more) == expected


def test_the_end_of_a_long_text_is_carried_from_a_word_on():
    text = " ".join(f"word{n}" for n in range(500))
    end = told(text, with_words=False)
    assert text.endswith(f" {end}")
    assert MOST_CHARACTERS - len(" word499") <= len(end) <= MOST_CHARACTERS
    letters = "".join(chr(0x100 + n) for n in range(250))
    assert told(letters, with_words=False) == letters[-MOST_CHARACTERS:]
    assert told(f"One {letters[:MOST_CHARACTERS]}", with_words=False) == letters[:MOST_CHARACTERS]
    signs = "".join(chr(0x4E00 + n) for n in range(900))
    assert MOST_BYTES - 3 < len(told(signs, with_words=False).encode()) <= MOST_BYTES


@given(st.lists(st.text(max_size=300), max_size=5))
def test_whatever_is_said_can_be_carried(texts):
    end = told(*texts, with_words=False)
    assert len(end) <= MOST_CHARACTERS
    assert len(end.encode()) <= MOST_BYTES
