"""`speak`: what each model is sent, what speech can cost, and which answers are recordings."""

import base64
import io
import resource
import struct
import time
import wave
import zlib

import pytest

from pipeline.emulator.tasks.speech import FRAME
from pipeline.errors import PlanError, RecordUnusable, UnreadableAnswer
from pipeline.schemas import check_input
from pipeline.tasks.speak import seconds_of
from tests.support.adapters import adapter_of, answer_of, record_of, request_of, row_of

MELO = "@cf/myshell-ai/melotts"
AURA = "@cf/deepgram/aura-1"
AURA2 = "@cf/deepgram/aura-2-en"
HELLO = record_of({"text": "Hello there."}, name="greeting")
MP3 = FRAME * 100


def wav(seconds=1.5, rate=8000):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(int(2 * seconds * rate)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("model", "params", "sent"),
    [
        (MELO, {}, {"prompt": "Hello there."}),
        (MELO, {"lang": "zh"}, {"prompt": "Hello there.", "lang": "zh"}),
        (AURA, {"speaker": "luna"}, {"text": "Hello there.", "speaker": "luna"}),
        (AURA2, {"encoding": "mp3", "bit_rate": 48000}, {"text": "Hello there.", "encoding": "mp3", "bit_rate": 48000}),
    ],
)
def test_each_model_is_sent_its_own_fields(model, params, sent):
    adapter = adapter_of("speak", model, **params)
    assert adapter.payload(request_of(adapter, HELLO)) == sent
    assert check_input(model, sent, "text-to-speech") == []


@pytest.mark.parametrize(("model", "per_thousand"), [(AURA, 1363.64), (AURA2, 2727.27)])
def test_aura_costs_what_its_characters_cost(model, per_thousand):
    """Those outside the basic plane count twice in the bound: it is not published how the service counts them."""
    adapter = adapter_of("speak", model)
    (piece,) = adapter.pieces(record_of({"text": "x" * 1000}))
    assert piece.ceiling == piece.expected == pytest.approx(per_thousand)
    (piece,) = adapter.pieces(record_of({"text": "🎉" * 100}))
    assert piece.ceiling == pytest.approx(0.2 * per_thousand)
    assert piece.expected == pytest.approx(0.1 * per_thousand)


@pytest.mark.parametrize(
    ("text", "slowest_s"),
    [("The quick brown fox jumps over the lazy dog.", 10), ("77,777,777", 6), ("WWW", 3), ("你好世界", 3), ("ﷺ", 5)],
)
def test_the_bound_of_melotts_is_slower_than_anyone_speaks(text, slowest_s):
    """Figures, spelled capitals, characters and ligatures that are read as whole phrases among it."""
    usual, most = seconds_of(text)
    assert usual < slowest_s <= most
    (piece,) = adapter_of("speak", MELO).pieces(record_of({"text": text}))
    assert piece.ceiling == pytest.approx(most / 60 * 18.63)


def test_what_cannot_be_spoken_is_found_before_it_is_sent():
    for model, most in ((MELO, 4000), (AURA, 2000)):
        adapter = adapter_of("speak", model)
        adapter.pieces(record_of({"text": "x" * most}))
        for text, words in ((None, "null"), (" ", "empty"), ("é" * most, "cut it into several records")):
            with pytest.raises(RecordUnusable, match=words):
                adapter.outline(record_of({"text": text}))


@pytest.mark.parametrize("name", ["sample_rate", "bit_rate"])
def test_rates_are_whole_numbers(name):
    with pytest.raises(PlanError) as caught:
        adapter_of("speak", AURA, **{name: -1})
    assert caught.value.key == f"params.{name}"


@pytest.mark.parametrize(
    ("content", "mime", "suffix", "seconds"),
    [(MP3, "audio/mpeg", ".mp3", 2.4), (wav(), "audio/wav", ".wav", 1.5)],
)
@pytest.mark.parametrize("shape", ["base64", "body"])
def test_every_documented_answer_becomes_a_file_named_for_what_it_is(content, mime, suffix, seconds, shape):
    result = {"audio": base64.b64encode(content).decode()} if shape == "base64" else content
    row, files = row_of(adapter_of("speak"), HELLO, result, mime="audio/mpeg")
    assert row == {"path": f"media/greeting{suffix}", "duration_seconds": pytest.approx(seconds), "mime": mime}
    assert [(file.name, file.content) for file in files] == [(f"greeting{suffix}", content)]


@pytest.mark.parametrize(("params", "seconds"), [({"sample_rate": 8000}, 0.25), ({}, None)])
def test_samples_without_a_head_are_kept_as_they_are(params, seconds):
    """Only the job knows their rate."""
    adapter = adapter_of("speak", AURA, encoding="linear16", container="none", **params)
    row, _ = row_of(adapter, HELLO, bytes(4000))
    assert row == {"path": "media/greeting.raw", "duration_seconds": seconds, "mime": "application/octet-stream"}
    with pytest.raises(UnreadableAnswer):
        adapter.parse(request_of(adapter, HELLO), answer_of(b""))


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "x",
        {},
        {"audio": None},
        {"audio": ""},
        {"audio": [1, 2]},
        {"audio": "no base64!"},
        {"audio": base64.b64encode(b"<html>").decode()},
        b"",
        b"<html>" * 100,
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"fLaC" + bytes(40),
        b"OggS" + bytes(60),
        b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f",
        b"\xff\xfb\x14\xc4",
    ],
    ids=lambda result: repr(result)[:30],
)
def test_what_is_no_recording_is_unreadable(result):
    adapter = adapter_of("speak")
    with pytest.raises(UnreadableAnswer):
        adapter.parse(request_of(adapter, HELLO), answer_of(result, "audio/mpeg"))


def id3(frames):
    size = len(frames)
    return b"ID3\4\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + frames


def boxes(depth):
    return b"\0\0\0\x10ftypM4A " + bytes(4) + b"".join(struct.pack(">I4s", 8 * n, b"moov") for n in range(depth, 0, -1))


def frame(name, content, flags=b"\0\0"):
    return name + bytes((len(content) >> shift) & 0x7F for shift in (21, 14, 7, 0)) + flags + content


def riff(*chunks):
    body = b"WAVE" + b"".join(name + struct.pack("<I", len(content)) + content for name, content in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


FORMAT = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
ZEROS = frame(b"TXXX", bytes(2_000_000))
PACKED = frame(b"TXXX", bytes(4) + zlib.compress(b"\1" + b"a" * 200_000_000, 1), b"\0\x09")
STREAMINFO = b"\0\0\0\x22" + bytes(10) + b"\x0a\xc4\x42\xf0\x00\x00\x0a\xc4" + bytes(16)
COMMENTS = struct.pack("<II", 0, 1_000_000) + b"\3\0\0\0a=b" * 1_000_000


@pytest.mark.parametrize(
    ("content", "suffix", "seconds"),
    [
        (id3(ZEROS) + MP3, ".mp3", 2.4),
        (id3(PACKED) + MP3, ".mp3", 2.4),
        (id3(frame(b"TXXX", b"\0a\0b") * 100_000) + MP3, ".mp3", 2.4),
        (riff((b"fmt ", FORMAT), (b"data", bytes(16_000)), (b"id3 ", id3(ZEROS))), ".wav", 1.0),
        (b"fLaC" + STREAMINFO + b"\4" + len(COMMENTS).to_bytes(3, "big") + COMMENTS, ".flac", 2756 / 44100),
        (boxes(5_000), ".m4a", None),
        (b"\0\0\0\x10ftypM4A " + bytes(4) + b"\0\0\0\x08free" * 500_000, ".m4a", None),
    ],
    ids=["zeros", "packed", "frames", "wav", "flac", "deep boxes", "boxes"],
)
def test_tags_are_passed_over(content, suffix, seconds):
    """They may be written so that reading them takes hours, or gigabytes; the recording is there all the same."""
    adapter = adapter_of("speak")
    began, most = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (spoken,) = adapter.parse(request_of(adapter, HELLO), answer_of(content, "audio/mpeg"))
    assert time.process_time() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 100_000
    assert spoken.suffix == suffix
    assert spoken.seconds == (seconds if seconds is None else pytest.approx(seconds, rel=0.01))
