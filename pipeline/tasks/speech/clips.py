"""What is sent of a recording: one stretch of it, and what else its answer is needed for."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from pipeline.audio import Span, Track, quietest
from pipeline.audio.listen import STEP_S
from pipeline.records import Piece, Record, digest
from pipeline.tasks.speech.heard import Heard

SHORTEST_HALF_S: Final = 1.0
_BYTES_PER_S: Final = 32_000
_STRETCH: Final = struct.Struct("<dd?")


@dataclass(frozen=True, slots=True)
class Clip:
    """Content of a piece; holds no sound.

    Attributes:
        track: The recording.
        start: Seconds on its timeline.
        end: Seconds.
        speech: Seconds of it in which somebody speaks.
        language: What the model is told; None: it finds out.
        prompt: What was said before it, as the model is told; "" for nothing.
        is_second: It is sent again, for the first answer was doubtful.
        rest: The other spans of the recording, which wait for the answer of this one.
        carried: Answers of earlier stages that still stand.
        sent_before: Seconds that earlier stages sent.
    """

    track: Track
    start: float
    end: float
    speech: float
    language: str | None = None
    prompt: str = ""
    is_second: bool = False
    rest: tuple[Span, ...] = field(default=(), repr=False)
    carried: tuple[Heard, ...] = field(default=(), repr=False)
    sent_before: float = 0.0

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


def pcm_bytes(seconds: float) -> int:
    """What so much sound weighs in a WAV file, without its header; at least 1."""
    return max(1, round(seconds * _BYTES_PER_S))


def clip_of(track: Track, span: Span, *, language: str | None = None) -> Clip:
    """The clip of a span."""
    return Clip(track, span.start, span.end, span.speech, language=language)


def pieces_of(
    record: Record, key: bytes, clips: Sequence[Clip], *, neurons_per_s: float, stage: int = 0
) -> list[Piece]:
    """Make the pieces of one stage.

    Args:
        record: The record.
        key: What it is recognised by.
        clips: What is sent.
        neurons_per_s: Price of a second.
        stage: As in `Piece`.
    """
    return [
        Piece(
            record,
            clip,
            *_weight(clip, key, neurons_per_s),
            index=index,
            n_pieces=len(clips),
            stage=stage,
            record_key=key,
            has_more=bool(clip.rest),
        )
        for index, clip in enumerate(clips)
    ]


class _Weight(NamedTuple):
    """What depends on the length of a clip; see `Piece`."""

    size: int
    ceiling: float
    expected: float
    payload_key: bytes


def _weight(clip: Clip, key: bytes, neurons_per_s: float) -> _Weight:
    """Whether the service rounds up to whole seconds is not known, so the ceiling does."""
    told = [clip.prompt.encode()] if clip.prompt else []
    return _Weight(
        size=pcm_bytes(clip.seconds),
        ceiling=math.ceil(clip.seconds) * neurons_per_s,
        expected=clip.seconds * neurons_per_s,
        payload_key=digest(key, _STRETCH.pack(clip.start, clip.end, clip.is_second), *told),
    )


def halves_of(clip: Clip, overlap_s: float) -> tuple[Clip, ...]:
    """Cut a clip at the quietest moment near its middle; nothing where it is too short.

    The halves share a little, for the moment may lie inside a word. What waits for the clip's answer waits for the
    first half's.
    """
    if clip.seconds < 2 * SHORTEST_HALF_S:
        return ()
    at = quietest(clip.track.levels, STEP_S, clip.start, clip.end)
    shared = min(overlap_s, clip.seconds / 6) / 2
    share = clip.speech / clip.seconds
    first, second = min(at + shared, clip.end), max(at - shared, clip.start)
    return (
        replace(clip, end=first, speech=share * (first - clip.start)),
        replace(clip, start=second, speech=share * (clip.end - second), rest=(), carried=(), sent_before=0.0),
    )


def half_pieces(piece: Piece, halves: Sequence[Clip], *, neurons_per_s: float) -> list[Piece]:
    """The parts of a piece that was too large."""
    parts = []
    for at, half in enumerate(halves):
        weight = _weight(half, piece.record_key, neurons_per_s)
        parts.append(
            replace(
                piece,
                content=half,
                size=weight.size,
                ceiling=weight.ceiling,
                expected=weight.expected,
                payload_key=weight.payload_key,
                part=(*piece.part, at),
            )
        )
    return parts
