"""Text to speech: silence as long as the text would last, named as simulated.

melotts answers ``{audio: base64}`` (MP3), aura with the file itself. Shapes: npm @cloudflare/workers-types
5.20261117.1. That aura, as phoenix, names no charge in its raw body's headers is an assumption.
"""

from __future__ import annotations

import base64
import io
import wave
from typing import Final

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import Model, check_input, output_fields
from pipeline.emulator.refusals import bad_input
from pipeline.emulator.tasks.base import Json, Ran, Upload, input_digest

CHARACTERS_PER_S: Final = 15.0
LEAST_S: Final = 0.48

# MPEG-1 layer III, 48 kHz, mono, 32 kbit/s: 96 bytes and 24 ms a frame; side information of zeros is silence
FRAME: Final = bytes((0xFF, 0xFB, 0x14, 0xC4)) + bytes(92)
FRAME_S: Final = 0.024
DEFAULT_RATE: Final = 24_000


def run(model: Model, body: Json, config: EmulatorConfig) -> Ran:  # noqa: ARG001 - the form of every task
    """Answer ``POST /ai/run/{model}``."""
    check_input(model, body)
    field = "text" if "text" in body else "prompt"
    text = str(body[field])
    if not text.strip():
        raise bad_input(f"minLength at '/{field}' not met: there is nothing to say")
    is_body = "audio" not in output_fields(model.name)
    recording, mime, seconds = _spoken(text, body)
    prices = model.facts.get("neurons")
    prices = prices if isinstance(prices, dict) else {}
    neurons = len(text) / 1e6 * prices["per_m_chars"] if "per_m_chars" in prices else None
    if "per_audio_minute" in prices:
        neurons = seconds / 60.0 * prices["per_audio_minute"]
    told: Json = {"audio": base64.b64encode(recording).decode()}
    return Ran(
        output=Upload(recording, mime) if is_body else told,
        input_tokens=0,
        output_tokens=0,
        neurons=neurons,
        texts=0,
        digests=(input_digest(model, text.encode("utf-8", "surrogatepass")),),
        audio_seconds=seconds,
        is_silent=is_body,
    )


def _spoken(text: str, body: Json) -> tuple[bytes, str, float]:
    """Return a recording, its media type and its seconds."""
    seconds = max(LEAST_S, len(text) / CHARACTERS_PER_S)
    encoding = body.get("encoding", "mp3")
    if encoding == "mp3":
        n_frames = round(seconds / FRAME_S)
        return _title(f"[simulated] {text[:60]}") + FRAME * n_frames, "audio/mpeg", n_frames * FRAME_S
    if encoding != "linear16":
        raise bad_input(f"enum at '/encoding' not met: {encoding!r} is not simulated; mp3 and linear16 are")
    rate = int(str(body.get("sample_rate", DEFAULT_RATE)))
    samples = bytes(2 * round(seconds * rate))
    if body.get("container") == "none":
        return samples, "audio/l16", seconds
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return out.getvalue(), "audio/wav", seconds


def _title(title: str) -> bytes:
    """Return an ID3v2.4 tag that holds a title."""
    content = b"\x03" + title.encode("utf-8", "replace")
    frame = b"TIT2" + _syncsafe(len(content)) + b"\0\0" + content
    return b"ID3\x04\x00\x00" + _syncsafe(len(frame)) + frame


def _syncsafe(number: int) -> bytes:
    return bytes((number >> shift) & 0x7F for shift in (21, 14, 7, 0))
