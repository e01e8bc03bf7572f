"""Reads the answers of speech models: Whisper's two forms and Deepgram's.

    {text, transcription_info?, segments?: [{start, end, text, …, words?}]}     whisper-large-v3-turbo
    {text, word_count?, words?: [{word, start, end}], vtt?}                     whisper, whisper-tiny-en
    {results: {channels: [{alternatives: [{transcript, confidence, words}]}]}}  nova-3

Shapes: npm @cloudflare/workers-types 5.20261117.1. A part that is missing or null is done without: segments are made of
words, and of the text as a whole where there are none. A part of the wrong type, or a time that is no finite number,
makes the answer unreadable. Times are pressed into the piece (Whisper likes to end at 30.0 s whatever it was sent) and
into order: none begins before the one in front of it, none ends before it begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

from pipeline.errors import UnreadableAnswer
from pipeline.tasks.speech.heard import Heard, Segment, Word
from pipeline.tasks.speech.texts import glued, text_of

_MOST_ITEMS: Final = 20_000
_MOST_TEXT: Final = 50_000
_PAUSE_S: Final = 0.6
_LONGEST_SEGMENT_S: Final = 15.0
_SENTENCE_ENDS: Final = (".", "?", "!", "\u3002", "\uff1f", "\uff01")
_LONGEST_LANGUAGE: Final = 20
_SURE: Final = 0.5

Json = Mapping[str, object]


def read_answer(result: object, *, start: float, end: float) -> Heard:
    """Read an answer of any known shape.

    Args:
        result: Of the envelope.
        start: Of the piece on the timeline, seconds.
        end: Of the piece.

    Raises:
        UnreadableAnswer: It is none of the shapes, or a part of it has the wrong type.
    """
    if not isinstance(result, dict):
        raise UnreadableAnswer("the answer is no transcript")
    reader = _Reader(start, end)
    if "results" in result:
        return reader.deepgram(result)
    return reader.whisper(result)


class _Reader:
    """Reads one answer; knows where its piece lies."""

    def __init__(self, start: float, end: float) -> None:
        self._start, self._end = start, end

    def whisper(self, result: Json) -> Heard:
        text = _text(result, "text").strip()
        listed = _items(result, "segments")
        segments = [_segment(item) for item in listed]
        words = [_word(word) for item in listed for word in _items(item, "words")]
        words = words or [_word(item) for item in _items(result, "words")]
        text = text or glued(segment["text"] for segment in segments)
        info = result.get("transcription_info")
        info = {} if info is None else _mapping(info, "transcription_info")
        language = _optional_text(info, "language")
        certainty = _optional_number(info, "language_probability")
        return self._heard(text, segments, words, language, is_sure=certainty is None or certainty >= _SURE)

    def deepgram(self, result: Json) -> Heard:
        channels = _items(_mapping(result["results"], "results"), "channels")
        alternatives = _items(channels[0], "alternatives") if channels else []
        if not alternatives:
            raise UnreadableAnswer("the answer holds no transcript: its first channel has no alternatives")
        best = alternatives[0]
        words = [_word(item) for item in _items(best, "words")]
        return self._heard(_text(best, "transcript").strip(), [], words, None, is_sure=False)

    def _heard(
        self, text: str, segments: list[Segment], words: list[Word], language: str | None, *, is_sure: bool
    ) -> Heard:
        self._place(segments)
        self._place(words)
        segments = [segment for segment in segments if segment["text"]]
        if not segments and text:
            segments = segments_of(words) or [plain_segment(self._start, self._end, text)]
        return Heard(
            start=self._start,
            end=self._end,
            text=text,
            language=language,
            is_sure=is_sure and language is not None,
            segments=segments,
            words=words,
            warnings=[],
            doubts=[],
        )

    def _place(self, items: Iterable[Segment | Word]) -> None:
        """Put times that count from the piece's beginning on the timeline, inside the piece and in order."""
        latest = self._start
        for item in items:
            begin = min(max(self._start + item["start"], latest), self._end)
            item["start"] = round(begin, 3)
            item["end"] = round(min(max(self._start + item["end"], begin), self._end), 3)
            latest = begin


def plain_segment(start: float, end: float, text: str) -> Segment:
    """A segment of which nothing else is known."""
    return Segment(start=start, end=end, text=text, no_speech_prob=None, avg_logprob=None, compression_ratio=None)


def segments_of(words: list[Word]) -> list[Segment]:
    """Make segments of words: they end with a sentence, a pause, or after 15 s."""
    segments: list[Segment] = []
    held: list[Word] = []
    for at, word in enumerate(words):
        held.append(word)
        after = words[at + 1] if at + 1 < len(words) else None
        if (
            after is None
            or after["start"] - word["end"] > _PAUSE_S
            or word["word"].rstrip().endswith(_SENTENCE_ENDS)
            or after["end"] - held[0]["start"] > _LONGEST_SEGMENT_S
        ):
            segments.append(plain_segment(held[0]["start"], word["end"], text_of(held)))
            held = []
    return [segment for segment in segments if segment["text"]]


def _segment(item: Json) -> Segment:
    return Segment(
        start=_seconds(item, "start"),
        end=_seconds(item, "end"),
        text=_text(item, "text").strip(),
        no_speech_prob=_optional_number(item, "no_speech_prob"),
        avg_logprob=_optional_number(item, "avg_logprob"),
        compression_ratio=_optional_number(item, "compression_ratio"),
    )


def _word(item: Json) -> Word:
    text = _optional_text(item, "punctuated_word", longest=None)
    return Word(
        start=_seconds(item, "start"),
        end=_seconds(item, "end"),
        word=_text(item, "word") if text is None else text,
        confidence=_optional_number(item, "confidence"),
    )


def _mapping(value: object, name: str) -> Json:
    if not isinstance(value, dict):
        raise UnreadableAnswer(f"{name} of the answer is no object")
    return value


def _items(holder: Json, name: str) -> list[Json]:
    """The objects of a list that may be missing."""
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UnreadableAnswer(f"{name} of the answer is no list of objects")
    if len(value) > _MOST_ITEMS:
        raise UnreadableAnswer(f"{name} of the answer has {len(value):,} entries for less than a minute")
    return value


def _text(holder: Json, name: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str):
        raise UnreadableAnswer(f"{name} of the answer is {'missing' if value is None else 'no text'}")
    if len(value) > _MOST_TEXT:
        raise UnreadableAnswer(f"{name} of the answer is longer than anybody can say in a minute")
    return value


def _optional_text(holder: Json, name: str, *, longest: int | None = _LONGEST_LANGUAGE) -> str | None:
    if holder.get(name) is None:
        return None
    return _text(holder, name)[:longest] or None


def _optional_number(holder: Json, name: str) -> float | None:
    return None if holder.get(name) is None else _seconds(holder, name)


def _seconds(holder: Json, name: str) -> float:
    value = holder.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableAnswer(f"{name} in the answer is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UnreadableAnswer(f"{name} in the answer is no finite number")
    return number
