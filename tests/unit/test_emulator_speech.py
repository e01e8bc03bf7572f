"""Simulated speech: silence as long as the text would last."""

import base64
import io

import mutagen
import pytest

from pipeline.emulator.config import EmulatorConfig
from pipeline.emulator.models import find_model
from pipeline.emulator.refusals import Refusal
from pipeline.emulator.tasks.base import Upload
from pipeline.emulator.tasks.speech import run

MELO = "@cf/myshell-ai/melotts"
AURA = "@cf/deepgram/aura-1"


def ran(name, **body):
    return run(find_model(name), body, EmulatorConfig())


def test_melotts_answers_with_a_whole_mp3_and_is_metered_by_the_minute():
    result = ran(MELO, prompt="x" * 450, lang="en")
    recording = mutagen.File(io.BytesIO(base64.b64decode(result.output["audio"])))
    assert recording.info.length == pytest.approx(30.0, rel=0.01)
    assert "[simulated] xxx" in str(recording.tags["TIT2"])
    assert result.audio_seconds == pytest.approx(30.0, rel=0.01)
    assert result.neurons == pytest.approx(18.63 / 2, rel=0.01)


@pytest.mark.parametrize(
    ("params", "mime"),
    [
        ({}, "audio/mpeg"),
        ({"encoding": "linear16"}, "audio/wav"),
        ({"encoding": "linear16", "container": "none"}, "audio/l16"),
    ],
)
def test_aura_answers_with_the_file_and_names_no_charge(params, mime):
    result = ran(AURA, text="x" * 1000, **params)
    assert isinstance(result.output, Upload)
    assert result.output.mime == mime
    assert result.neurons == pytest.approx(1363.64)
    assert result.is_silent


@pytest.mark.parametrize(
    ("name", "body"),
    [(MELO, {"text": "x"}), (MELO, {"prompt": " "}), (AURA, {"text": "x", "speaker": "nobody"}), (AURA, {"text": ""})],
)
def test_what_the_service_refuses(name, body):
    with pytest.raises(Refusal) as caught:
        ran(name, **body)
    assert caught.value.code == 5006
