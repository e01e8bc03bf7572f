"""A real voice in every container, through the command line: as long as the recording, and nothing of it left out."""

import wave

import numpy as np
import pytest

from tests.support.cli import ROOT
from tests.support.sounds import CONTAINERS, RATE, write_as

PROMPTS = sorted((ROOT / "tests" / "data" / "speech").glob("*.wav"))
TOLERANCE_S = {"aac": 0.05, "mka": 0.03}
"""Bare AAC says neither how long it is nor what its encoder put in front; Matroska tells the latter only."""


def heard(path):
    """The samples of a prompt, at 16 kHz."""
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    return np.repeat(samples, RATE // rate), len(samples) / rate


def test_real_speech_is_as_long_as_it_is_in_any_container(world):
    folder = world.folder / "audio"
    folder.mkdir()
    told_s = {}
    for path in PROMPTS:
        samples, seconds = heard(path)
        (folder / path.name).write_bytes(path.read_bytes())
        told_s[path.name] = seconds
        for kind in CONTAINERS:
            told_s[write_as(folder, kind, samples, name=f"{path.stem}-as").name] = seconds
    world.spec(task="transcribe", input={"path": "audio", "text": None, "id": None})
    report = world.run()
    assert world.table("failures").to_pylist() == []
    assert report["records"]["done"] == len(told_s) == len(PROMPTS) * (1 + len(CONTAINERS))
    for row in world.table().to_pylist():
        within_s = TOLERANCE_S.get(row["id"].rpartition(".")[2], 0.02)
        assert row["duration_seconds"] == pytest.approx(told_s[row["id"]], abs=within_s), row["id"]
        assert row["text"]
        assert row["words"][-1]["end"] <= row["duration_seconds"] + within_s
        assert row["warnings"] == []
