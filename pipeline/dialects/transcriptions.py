"""OpenAI's form of speech recognition: ``POST …/audio/transcriptions``, a form with a file.

Form and answer (``verbose_json``): OpenAI's published interface 2.3.0 in docs.rs/crate/openai-client-base/0.12.0.
Workers differ: github.com/Lqm1/openai-workers-ai (src/v1/audio.ts) takes Cloudflare's names of models only and answers
500 to ``verbose_json``, so a job may ask for another form (``params: {response_format: json}``). Both read 2026-11-23.
The answer becomes what whisper-large-v3-turbo itself answers on Workers AI, words inside their segments.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.dialects.languages import code_of
from pipeline.errors import UnreadableAnswer
from pipeline.records import Form, FormPart, Payload, Raw

_SUFFIXES: Final[Mapping[str, str]] = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/ogg": "ogg",
    "audio/opus": "ogg",
    "audio/mp4": "m4a",
    "audio/x-m4a": "m4a",
    "audio/webm": "webm",
}
"""Servers tell the format by the file's name."""

_SIGNS: Final = (
    (b"RIFF", "audio/wav"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"\x1aE\xdf\xa3", "audio/webm"),
)
_RENAMED: Final = {"initial_prompt": "prompt"}
_FIGURES: Final = ("temperature", "avg_logprob", "compression_ratio", "no_speech_prob")


def is_translation(payload: Payload) -> bool:
    """Whether English is asked for, whatever is spoken: another path of the same interface."""
    return isinstance(payload, Mapping) and payload.get("task") == "translate"


def form_of(payload: Payload, model: str, *, asks_for_words: bool) -> Form:
    """Make the form of a native input: ``{audio: base64, …}``, or the recording itself.

    Args:
        payload: As the task adapters make it.
        model: Name of the model.
        asks_for_words: Ask for times of words beside those of segments.

    Raises:
        ValueError: It holds no recording.
    """
    if isinstance(payload, Raw):
        content, mime, options = payload.content, payload.mime, {}
    elif isinstance(payload, Mapping):
        content, mime = _audio(payload), ""
        options = {
            _RENAMED.get(name, name): value
            for name, value in payload.items()
            if name not in {"audio", "task"} and value is not None
        }
    else:
        raise ValueError("a form cannot be sent to this endpoint")
    if mime not in _SUFFIXES:
        mime = next((kind for sign, kind in _SIGNS if content.startswith(sign)), "audio/mp4")
    wanted = options.pop("response_format", "verbose_json")
    parts = [
        FormPart("file", content, filename=f"audio.{_SUFFIXES[mime]}", mime=mime),
        FormPart("model", model.encode()),
        FormPart("response_format", _text("response_format", wanted).encode()),
    ]
    parts += [FormPart(name, _text(name, value).encode()) for name, value in options.items()]
    if asks_for_words and wanted == "verbose_json":  # refused with any other
        parts += [FormPart("timestamp_granularities[]", kind) for kind in (b"segment", b"word")]
    return Form(tuple(parts))


def _audio(payload: Mapping[str, object]) -> bytes:
    audio = payload.get("audio")
    if isinstance(audio, str):
        try:
            return base64.b64decode(audio, validate=True)
        except binascii.Error as exc:
            raise ValueError("the recording is not base64") from exc
    if isinstance(audio, list):
        return bytes(audio)
    raise ValueError("there is no recording to send")


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"{name} cannot be a field of a form")


def native_result(body: object) -> dict[str, object]:
    """Turn an answer into the `result` of whisper-large-v3-turbo.

    Raises:
        UnreadableAnswer: It holds no text.
    """
    if isinstance(body, str):
        return {"text": body.strip(), "word_count": len(body.split())}
    if not isinstance(body, dict) or not isinstance(body.get("text"), str):
        raise UnreadableAnswer("the answer holds no transcript")
    text = str(body["text"])
    result: dict[str, object] = {"text": text, "word_count": len(text.split())}
    info = {name: body[name] for name in ("language", "duration") if isinstance(body.get(name), str | int | float)}
    if isinstance(info.get("language"), str):
        info["language"] = code_of(str(info["language"]))
    if info:
        result["transcription_info"] = info
    words = [word for word in map(_word, _list(body.get("words"))) if word is not None]
    segments = [segment for segment in map(_segment, _list(body.get("segments"))) if segment is not None]
    if words and not segments:
        segments = [{"start": words[0]["start"], "end": words[-1]["end"], "text": text}]
    _share_out(words, segments)
    if segments:
        result["segments"] = segments
    if isinstance(body.get("vtt"), str):  # some Workers hand on what the model said
        result["vtt"] = body["vtt"]
    return result


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < float("inf") else None


def _span(value: object) -> tuple[Mapping[str, object], float, float] | None:
    if not isinstance(value, dict):
        return None
    start, end = _seconds(value.get("start")), _seconds(value.get("end"))
    return (value, start, end) if start is not None and end is not None and start <= end else None


def _word(value: object) -> dict[str, object] | None:
    span = _span(value)
    if span is None or not isinstance(span[0].get("word"), str):
        return None
    return {"word": span[0]["word"], "start": span[1], "end": span[2]}


def _segment(value: object) -> dict[str, object] | None:
    span = _span(value)
    if span is None or not isinstance(span[0].get("text"), str):
        return None
    figures = {name: span[0][name] for name in _FIGURES if isinstance(span[0].get(name), int | float)}
    words = [word for word in map(_word, _list(span[0].get("words"))) if word is not None]
    return {"start": span[1], "end": span[2], "text": span[0]["text"], **figures, **({"words": words} if words else {})}


def _share_out(words: Sequence[dict[str, object]], segments: Sequence[dict[str, object]]) -> None:
    """Give every word to the last segment that begins no later than it does; OpenAI lists words beside segments."""
    if not segments or any("words" in segment for segment in segments):
        return
    at = 0
    for word in words:
        while at + 1 < len(segments) and _of(segments[at + 1]) <= _of(word):
            at += 1
        held = segments[at].setdefault("words", [])
        assert isinstance(held, list)
        held.append(word)


def _of(span: Mapping[str, object]) -> float:
    start = span["start"]
    assert isinstance(start, float)
    return start
