"""The emulated speech models: documented forms, words where the sound is, and the service's refusals."""

import base64

import jsonschema_rs
import numpy as np
import orjson
import pytest

from pipeline.audio import encode
from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import find_model, published_schema
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks.base import RAW, Upload
from pipeline.emulator.tasks.recognition import MOST_BYTES, run
from pipeline.emulator.tasks.sounds import read_sound
from tests.support.sounds import CONTAINERS, RATE, talk, write_as

TURBO = "@cf/openai/whisper-large-v3-turbo"
WHISPER = "@cf/openai/whisper"
TINY = "@cf/openai/whisper-tiny-en"
NOVA = "@cf/deepgram/nova-3"
MADE = talk(12.0, seed=3)
WAV = encode(MADE.samples, "wav")


def ask(name, body):
    return run(find_model(name), body, EmulatorConfig())


def in_base64(content=WAV, **more):
    return {"audio": base64.b64encode(content).decode(), **more}


def raw(content=WAV, mime="audio/wav"):
    return {RAW: Upload(content, mime)}


FORMS = [(TURBO, in_base64()), (WHISPER, raw()), (TINY, raw()), (NOVA, raw()), (WHISPER, {"audio": list(WAV)})]


@pytest.mark.parametrize(("name", "body"), FORMS, ids=lambda each: each if isinstance(each, str) else "")
def test_the_answer_has_the_published_form(name, body):
    ran = ask(name, body)
    errors = jsonschema_rs.Draft7Validator(published_schema(name, "output")).iter_errors(
        orjson.loads(orjson.dumps(ran.output))
    )
    assert [error.message for error in errors] == []
    assert b"[simulated]" in orjson.dumps(ran.output)


def words_of(output):
    if "results" in output:
        return output["results"]["channels"][0]["alternatives"][0]["words"]
    return output.get("words") or [word for segment in output["segments"] for word in segment["words"]]


@pytest.mark.parametrize(("name", "body"), FORMS, ids=lambda each: each if isinstance(each, str) else "")
def test_words_stand_where_the_sound_is(name, body):
    found = [(word["start"], word["end"]) for word in words_of(ask(name, body).output)]
    assert np.abs(np.array(found) - np.array(MADE.words)).max() <= 0.02


def test_the_same_sound_is_the_same_word():
    """Also in another piece of the recording: overlaps can be recognised."""
    cut = encode(MADE.samples[round(MADE.words[5][0] * RATE) - 200 :], "flac")
    whole, part = words_of(ask(WHISPER, raw()).output), words_of(ask(WHISPER, raw(cut)).output)
    assert part[0]["word"] == f"[simulated] {whole[5]['word']}"
    assert [word["word"] for word in part[1:]] == [word["word"] for word in whole[6:]]


@pytest.mark.parametrize(("name", "price"), [(TURBO, 46.63), (WHISPER, 41.14), (NOVA, 472.73), (TINY, None)])
def test_minutes_are_metered(name, price):
    ran = ask(name, in_base64() if name == TURBO else raw())
    assert ran.audio_seconds == pytest.approx(12.0)
    assert ran.neurons == (None if price is None else pytest.approx(price / 5))


def test_the_language_is_the_one_that_was_told():
    assert ask(TURBO, in_base64(language="de")).output["transcription_info"]["language"] == "de"
    assert ask(TURBO, in_base64()).output["transcription_info"]["language"] == "en"


def test_silence_has_no_words():
    silent = encode(np.zeros(3 * RATE, np.int16), "wav")
    assert ask(TURBO, in_base64(silent)).output["text"] == ""
    assert ask(NOVA, raw(silent)).output["results"]["channels"][0]["alternatives"][0]["transcript"] == ""


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        (TURBO, in_base64(bytes(MOST_BYTES + 1)), 3006),
        (WHISPER, raw(bytes(MOST_BYTES + 1)), 3006),
        (TURBO, in_base64(b"no sound at all"), 3010),
        (WHISPER, raw(b""), 3010),
        (TURBO, {"audio": "%%%"}, 5004),
        (TURBO, {"audio": [1, 2]}, 5006),
        (TURBO, {}, 5006),
        (TURBO, raw(), 5006),
        (TURBO, in_base64(diarize=True), 5006),
        (WHISPER, {"audio": "abc"}, 5006),
        (NOVA, raw(mime="application/octet-stream"), 5006),
        (NOVA, in_base64(), 5006),
    ],
)
def test_what_the_service_refuses(name, body, code):
    with pytest.raises(Refusal) as caught:
        ask(name, body)
    assert caught.value.code == code


@pytest.mark.parametrize("kind", ["44100.wav", "flac", "mp3", "ogg", "m4a"])
def test_other_containers_are_heard_as_well(tmp_path, kind):
    assert kind in CONTAINERS
    sound = read_sound(write_as(tmp_path, kind, MADE.samples).read_bytes())
    assert sound.seconds == pytest.approx(12.0, abs=0.1)
    assert sound.samples is not None


def test_without_a_decoder_the_header_tells_the_length(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.emulator.tasks.sounds.find_spec", lambda _: None)
    sound = read_sound(write_as(tmp_path, "flac", MADE.samples).read_bytes())
    assert (sound.seconds, sound.samples) == (pytest.approx(12.0), None)
    assert read_sound(b"nothing") is None
