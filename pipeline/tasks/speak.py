"""`speak`: a text to a recording, kept as a file beside the results.

melotts takes ``{prompt, lang}`` and answers ``{audio: base64}`` (MP3; also published as the file itself), aura takes
``{text, speaker, encoding, container, sample_rate, bit_rate}`` and answers with the file (MP3 by default). Shapes: npm
@cloudflare/workers-types 5.20261117.1 and the models' pages, 2026-11-22.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.errors import RecordUnusable, UnreadableAnswer
from pipeline.records import Answer, Column, File, Media, Outline, Piece, Record, Request, digest
from pipeline.tasks.base import PER_MILLION, Adapter, TaskContext, TaskKind, number_param, sendable_text, whole
from pipeline.tasks.files import media_name
from pipeline.tasks.sounds import Spoken, read_recording

_OWNED: Final = frozenset({"prompt", "text"})
_QUICK: Final = re.compile(r"[a-zà-ÿ\s.,;:!?'\"()-]")

MOST_BYTES: Final = 4_000
"""Of a text for melotts, about four minutes of speech; ours, none is published."""

MOST_BYTES_AURA: Final = 2_000
"""Deepgram's own limit is 2,000 characters a request; Cloudflare publishes none (2026-11-22)."""

SLOWEST_S: Final = 0.4
"""Seconds that a small letter, a space or a mark lasts at most: six times as slow as people speak."""

SLOWEST_SIGN_S: Final = 1.0
"""Of any other character: a digit, a capital that is spelled out, a symbol that is named, a Chinese character."""

FRAME_S: Final = 2.0
"""For silence before and after."""

_USUAL_S: Final = 1 / 15
_USUAL_SIGN_S: Final = 1 / 5
_BYTES_A_SAMPLE: Final[Mapping[str, int]] = {"linear16": 2, "mulaw": 1, "alaw": 1}


class Speak(Adapter):
    """Adapter of the task `speak`. One text, one request, one recording.

    aura is priced by the character: the ceiling is the charge. melotts is priced by the minute of what it says, which
    is known afterwards only: it is bounded by the slowest plausible speech, above.
    """

    columns: Sequence[Column] = (
        Column("path", "string"),
        Column("duration_seconds", "float64"),
        Column("mime", "string"),
    )

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        params, prices = context.params, context.model.prices
        self._per_character = prices.get("per_m_chars", 0.0) * PER_MILLION
        self._per_second = 0.0 if self._per_character else prices.get("per_audio_minute", 0.0) / 60.0
        self._field = "text" if "text" in context.fields else "prompt"
        self._most = MOST_BYTES_AURA if self._field == "text" else MOST_BYTES
        for name in ("sample_rate", "bit_rate"):
            number_param(params, name, 1)
        width = _BYTES_A_SAMPLE.get(str(params.get("encoding")))
        self._headless = width if params.get("container") == "none" else None

    def _outline(self, record: Record) -> tuple[str, Outline]:
        text = sendable_text(self._context.text, record.fields)
        encoded = text.encode()
        if len(encoded) > self._most:
            raise RecordUnusable(
                f"the text has {len(encoded):,} bytes, and at most {self._most:,} are spoken in one request; "
                "cut it into several records"
            )
        if self._per_character:
            most = len(text.encode("utf-16-le")) / 2 * self._per_character
            return text, Outline(len(encoded), len(text) * self._per_character, most, digest(encoded))
        usual, slowest = seconds_of(text)
        return text, Outline(len(encoded), usual * self._per_second, slowest * self._per_second, digest(encoded))

    def pieces(self, record: Record) -> list[Piece]:
        """One text, one piece.

        Raises:
            RecordUnusable: There is no text, or it is too long.
        """
        text, outline = self._outline(record)
        return whole(record, text, outline)

    def outline(self, record: Record) -> Outline:
        """The same without the piece."""
        return self._outline(record)[1]

    def payload(self, request: Request) -> Mapping[str, object]:
        """``{prompt, lang}`` or ``{text, speaker, …}``."""
        return {**self._context.params, self._field: request.pieces[0].content}

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One `Spoken`.

        Raises:
            UnreadableAnswer: No recording came back.
        """
        result = answer.result
        if isinstance(result, Media):
            return [self._read(result.content)]
        told = result.get("audio") if isinstance(result, dict) else None
        if not isinstance(told, str) or not told:
            raise UnreadableAnswer("the answer holds no recording")
        try:
            return [self._read(base64.b64decode(told.rpartition("base64,")[2], validate=True))]
        except (binascii.Error, ValueError):
            raise UnreadableAnswer("the answer's recording is not base64") from None

    def _read(self, content: bytes) -> Spoken:
        if self._headless is None:
            return read_recording(content)
        if not content:
            raise UnreadableAnswer("the answer holds no recording")
        rate = self._context.params.get("sample_rate")
        seconds = len(content) / self._headless / rate if isinstance(rate, int) else None
        return Spoken(content, "application/octet-stream", ".raw", seconds)

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """Where the recording is kept, and what it is."""
        spoken = _spoken(values)
        path = f"media/{media_name(record.id, spoken.suffix)}"
        return {"path": path, "duration_seconds": spoken.seconds, "mime": spoken.mime}

    def files(self, record: Record, values: Sequence[object]) -> Sequence[File]:
        """The recording."""
        spoken = _spoken(values)
        return [File(media_name(record.id, spoken.suffix), spoken.content)]


def seconds_of(text: str) -> tuple[float, float]:
    """Return how long a text lasts when it is spoken: probably, and at most."""
    if not text.isascii():
        text = max(text, unicodedata.normalize("NFKC", text), key=len)
    quick = len(_QUICK.findall(text))
    signs = len(text) - quick
    return quick * _USUAL_S + signs * _USUAL_SIGN_S, quick * SLOWEST_S + signs * SLOWEST_SIGN_S + FRAME_S


def _spoken(values: Sequence[object]) -> Spoken:
    value = values[0]
    assert isinstance(value, Spoken)
    return value


KIND: Final = TaskKind(
    name="speak",
    adapter=Speak,
    text=("text", "prompt"),
    owned=_OWNED,
    carriers=("text", "prompt"),
    head="""\
task: speak                          # one recording per record, in <output.path>/media
model: "@cf/myshell-ai/melotts"      # wai models --task speak lists others
params:                              # parameters of the model, checked before anything is sent
  lang: en                           # language of the texts
""",
)
