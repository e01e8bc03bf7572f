"""Speech recognition by other servers: the form that leaves, and the result that whisper-large-v3-turbo would give."""

import base64
from datetime import UTC, datetime
from email.parser import BytesParser
from email.policy import HTTP

import orjson
import pytest

from pipeline.dialects import OpenAI, Refusals
from pipeline.dialects.languages import CODES
from pipeline.errors import ServerFault, UnreadableAnswer
from pipeline.records import Form, Raw
from pipeline.wire import HttpResponse

BASE = "https://asr.example.com/v1"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
JSON = {"content-type": "application/json"}


def dialect(**options):
    refusals = Refusals(base_url=BASE, api_key_env=None, now=lambda: datetime(2026, 11, 23, tzinfo=UTC))
    return OpenAI(base_url=BASE, model="whisper-1", operation="transcriptions", refusals=refusals, **options)


def fields(payload, **options):
    """(url, [(name, filename, type, content)]) as another parser reads the form."""
    request = dialect(**options).encode(payload)
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    return request.url, [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type() if part.get_filename() else None,
            part.get_payload(decode=True).rstrip(b"\r\n"),
        )
        for part in message.iter_parts()
    ]


def read(body, kind="application/json"):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return dialect().decode(HttpResponse(200, {"content-type": kind}, raw, 3.0)).result


def test_the_form_of_a_native_input():
    payload = {
        "audio": base64.b64encode(WAV).decode(),
        "task": "transcribe",
        "language": "de",
        "initial_prompt": "Grüße",
        "vad_filter": True,
        "temperature": 0.2,
        "prefix": None,
    }
    url, parts = fields(payload)
    assert url == f"{BASE}/audio/transcriptions"
    assert parts == [
        ("file", "audio.wav", "audio/wav", WAV),
        ("model", None, None, b"whisper-1"),
        ("response_format", None, None, b"verbose_json"),
        ("language", None, None, b"de"),
        ("prompt", None, None, "Grüße".encode()),
        ("vad_filter", None, None, b"true"),
        ("temperature", None, None, b"0.2"),
        ("timestamp_granularities[]", None, None, b"segment"),
        ("timestamp_granularities[]", None, None, b"word"),
    ]


def test_workers_get_no_more_fields_than_they_know():
    _, parts = fields({"audio": base64.b64encode(WAV).decode(), "language": "de"}, asks_for_words=False)
    assert [name for name, *_ in parts] == ["file", "model", "response_format", "language"]


def test_a_job_may_ask_for_a_form_that_the_server_has():
    """Some Workers answer 500 to `verbose_json`; times of words are refused with any other form."""
    _, parts = fields({"audio": base64.b64encode(WAV).decode(), "response_format": "json"})
    assert [(name, content) for name, *_, content in parts][1:] == [
        ("model", b"whisper-1"),
        ("response_format", b"json"),
    ]


def test_a_translation_has_a_path_of_its_own():
    url, _ = fields({"audio": base64.b64encode(WAV).decode(), "task": "translate"})
    assert url == f"{BASE}/audio/translations"


@pytest.mark.parametrize(
    ("payload", "name", "mime"),
    [
        (Raw(b"abc", "audio/mpeg"), "audio.mp3", "audio/mpeg"),
        (Raw(b"OggSabc", "application/octet-stream"), "audio.ogg", "audio/ogg"),
        (Raw(b"ID3abc", ""), "audio.mp3", "audio/mpeg"),
        (Raw(b"fLaC", "x"), "audio.flac", "audio/flac"),
        (Raw(b"\x00\x00\x00 ftyp", "x"), "audio.m4a", "audio/mp4"),
        ({"audio": list(WAV)}, "audio.wav", "audio/wav"),
    ],
)
def test_a_files_name_tells_its_format(payload, name, mime):
    _, parts = fields(payload)
    assert parts[0][:3] == ("file", name, mime)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"audio": None},
        {"audio": "not base64!"},
        {"audio": [300]},
        {"audio": "QQ==", "options": {"a": 1}},
        Form(()),
    ],
)
def test_what_is_no_recording_is_refused_before_it_leaves(payload):
    with pytest.raises(ValueError, match=r"recording|range|form"):
        dialect().encode(payload)


VERBOSE = {
    "task": "transcribe",
    "language": "english",
    "duration": 3.5,
    "text": "Hello there. Bye.",
    "segments": [
        {"id": 0, "seek": 0, "start": 0.0, "end": 2.0, "text": " Hello there.", "tokens": [1], "temperature": 0.0}
        | {"avg_logprob": -0.2, "compression_ratio": 1.1, "no_speech_prob": 0.01},
        {"id": 1, "seek": 0, "start": 2.0, "end": 3.5, "text": " Bye.", "tokens": [2], "temperature": 0.0},
    ],
    "words": [
        {"word": "Hello", "start": 0.0, "end": 0.5},
        {"word": "there", "start": 0.6, "end": 1.0},
        {"word": "Bye", "start": 2.0, "end": 2.5},
    ],
}


def test_openais_answer_becomes_whispers():
    assert read(VERBOSE) == {
        "text": "Hello there. Bye.",
        "word_count": 3,
        "transcription_info": {"language": "en", "duration": 3.5},
        "segments": [
            {
                "start": 0.0,
                "end": 2.0,
                "text": " Hello there.",
                "temperature": 0.0,
                "avg_logprob": -0.2,
                "compression_ratio": 1.1,
                "no_speech_prob": 0.01,
                "words": [
                    {"word": "Hello", "start": 0.0, "end": 0.5},
                    {"word": "there", "start": 0.6, "end": 1.0},
                ],
            },
            {
                "start": 2.0,
                "end": 3.5,
                "text": " Bye.",
                "temperature": 0.0,
                "words": [{"word": "Bye", "start": 2.0, "end": 2.5}],
            },
        ],
    }


def test_words_that_are_inside_segments_stay_there():
    inside = {"start": 0, "end": 1, "text": "a", "words": [{"word": "a", "start": 0, "end": 1}]}
    body = {"text": "a", "segments": [inside], "words": [{"word": "b", "start": 0, "end": 1}]}
    assert read(body)["segments"] == [
        {"start": 0.0, "end": 1.0, "text": "a", "words": [{"word": "a", "start": 0.0, "end": 1.0}]}
    ]


def test_words_without_segments_make_one():
    body = {"text": "a b", "words": [{"word": "a", "start": 0, "end": 1}, {"word": "b", "start": 1, "end": 2}]}
    (segment,) = read(body)["segments"]
    assert (segment["start"], segment["end"], segment["text"], len(segment["words"])) == (0.0, 2.0, "a b", 2)


def test_short_answers():
    assert read({"text": "only this"}) == {"text": "only this", "word_count": 2}
    assert read(b"plain text\n", "text/plain; charset=utf-8") == {"text": "plain text", "word_count": 2}
    assert read({"text": ""}) == {"text": "", "word_count": 0}
    assert read({"text": "a", "vtt": "WEBVTT"})["vtt"] == "WEBVTT"


@pytest.mark.parametrize(
    "span",
    [
        None,
        {},
        {"start": "0", "end": 1, "text": "a", "word": "a"},
        {"start": 2, "end": 1, "text": "a", "word": "a"},
        {"start": -1, "end": 1, "text": "a", "word": "a"},
        {"start": True, "end": 1, "text": "a", "word": "a"},
        {"start": 0, "end": 1, "text": 5, "word": 5},
    ],
)
def test_spans_that_make_no_sense_are_left_out(span):
    assert read({"text": "a", "segments": [span], "words": [span]}) == {"text": "a", "word_count": 1}


@pytest.mark.parametrize("body", [{}, [], None, {"text": None}, {"text": 5}, b"<html>", "x"])
def test_an_answer_without_text_is_a_typed_failure(body):
    if body == "x":  # JSON text is as good as plain text
        assert read(body)["text"] == "x"
        return
    with pytest.raises(UnreadableAnswer):
        read(body)


def test_an_error_under_a_200():
    with pytest.raises(ServerFault, match="no audio"):
        read({"error": "no audio"})


@pytest.mark.parametrize(
    ("said", "kept"), [("english", "en"), ("Haitian Creole", "ht"), ("de", "de"), ("klingon", "klingon"), ("", "")]
)
def test_languages_are_told_by_their_codes(said, kept):
    """OpenAI names them, Workers AI gives codes; what is not known stays."""
    assert read({"text": "a", "language": said})["transcription_info"]["language"] == kept


def test_codes_of_languages_are_distinct():
    assert len(set(CODES.values())) == len(CODES) == 100
