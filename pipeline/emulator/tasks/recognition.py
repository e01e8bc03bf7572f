"""Speech recognition: Whisper's JSON with base64, its bare bytes, and Deepgram's.

The words are made up, and the first of each answer says so; so do subtitles that are made of them. They stand where the
sound has energy, and the same sound always gives the same word. Shapes: npm @cloudflare/workers-types 5.20261117.1.
Limits: 2,900,000 bytes passed and 2,953,029 were refused with 3006; what cannot be decoded is 3010 (public clients up
to 2026-09-18).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model, check_input
from pipeline.emulator.refusals import Refusal, bad_input
from pipeline.emulator.tasks.base import RAW, Json, Ran, Upload, input_digest
from pipeline.emulator.tasks.sounds import Sound, Spoken, read_sound, words_in

MOST_BYTES: Final = 2_900_000
SIMULATED: Final = "[simulated]"
_SENTENCE: Final = 8


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a model makes of a recording."""

    sound: Sound
    words: list[Spoken]

    @property
    def text(self) -> str:
        return " ".join(spoken.word for spoken in self.words)


def run(model: Model, body: Json, config: EmulatorConfig) -> Ran:  # noqa: ARG001 - the form of every task
    """Answer ``POST /ai/run/{model}``."""
    content = _content(model, body)
    if len(content) > MOST_BYTES:
        raise Refusal(3006)
    sound = read_sound(content)
    if sound is None:
        raise Refusal(3010)
    heard = _Heard(sound, _marked(words_in(sound)))
    prices = model.facts.get("neurons")
    price = prices.get("per_audio_minute") if isinstance(prices, dict) else None
    return Ran(
        output=_form(model)(heard, body),
        input_tokens=0,
        output_tokens=0,
        neurons=None if price is None else sound.seconds / 60.0 * price,
        texts=0,
        digests=(input_digest(model, content),),
        audio_seconds=sound.seconds,
    )


def _form(model: Model) -> Callable[[_Heard, Json], Json]:
    if "nova" in model.name:
        return _deepgram
    return _turbo if _takes_base64(model) else _whisper


def _takes_base64(model: Model) -> bool:
    return model.name.endswith("-turbo")


def _content(model: Model, body: Json) -> bytes:
    """The bytes of the recording, however this model takes them."""
    upload = body.get(RAW)
    if isinstance(upload, Upload) and not _takes_base64(model):
        if "nova" in model.name and not upload.mime.startswith(("audio/", "video/")):
            raise bad_input("required properties at '/audio' are 'contentType'")
        return upload.content
    check_input(model, body)
    audio = body.get("audio")
    if isinstance(audio, list) and all(isinstance(each, int) and 0 <= each <= 255 for each in audio):
        return bytes(audio)
    if not isinstance(audio, str):
        raise bad_input("type at '/audio' not met: the recording is wanted")
    try:
        return base64.b64decode(audio, validate=True)
    except binascii.Error as exc:
        raise Refusal(5004) from exc


def _marked(words: list[Spoken]) -> list[Spoken]:
    return [replace(words[0], word=f"{SIMULATED} {words[0].word}"), *words[1:]] if words else []


def _sentences(words: list[Spoken]) -> list[list[Spoken]]:
    return [words[at : at + _SENTENCE] for at in range(0, len(words), _SENTENCE)]


def _timed(spoken: Spoken) -> Json:
    return {"word": spoken.word, "start": spoken.start, "end": spoken.end}


def _turbo(heard: _Heard, body: Json) -> Json:
    segments: list[Json] = [
        {
            "start": words[0].start,
            "end": words[-1].end,
            "text": " ".join(spoken.word for spoken in words),
            "temperature": 0.0,
            "avg_logprob": -0.2,
            "compression_ratio": 1.1,
            "no_speech_prob": 0.01,
            "words": [_timed(spoken) for spoken in words],
        }
        for words in _sentences(heard.words)
    ]
    seconds = round(heard.sound.seconds, 3)
    voiced = round(sum(spoken.end - spoken.start for spoken in heard.words), 3)
    return {
        "transcription_info": {
            "language": body.get("language") or "en",
            "language_probability": 1.0 if body.get("language") else 0.97,
            "duration": seconds,
            "duration_after_vad": voiced if body.get("vad_filter") is True else seconds,
        },
        "text": heard.text,
        "word_count": len(heard.words),
        "segments": segments,
        "vtt": _vtt(heard),
    }


def _whisper(heard: _Heard, body: Json) -> Json:  # noqa: ARG001 - one form for all
    return {
        "text": heard.text,
        "word_count": len(heard.words),
        "words": [_timed(spoken) for spoken in heard.words],
        "vtt": _vtt(heard),
    }


def _deepgram(heard: _Heard, body: Json) -> Json:  # noqa: ARG001 - one form for all
    words = [{**_timed(spoken), "confidence": 0.99} for spoken in heard.words]
    best = {"transcript": heard.text, "confidence": 0.99 if words else 0.0, "words": words}
    return {"results": {"channels": [{"alternatives": [best]}]}}


def _vtt(heard: _Heard) -> str:
    cues = [
        f"{_clock(words[0].start)} --> {_clock(words[-1].end)}\n{' '.join(spoken.word for spoken in words)}\n"
        for words in _sentences(heard.words)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60):02}:{seconds % 60:06.3f}"
