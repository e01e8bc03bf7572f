"""Long recordings: cut in pauses, right in time, in little memory."""

import json
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.support.cli import ROOT

CHILD = """
import json, sys
from pathlib import Path
import numpy as np
import wave
sys.path.insert(0, {root!r})
from pipeline.audio import Rules, cut, duration_of, listen
from pipeline.audio.listen import FRAME_S

path = Path(sys.argv[1])
told = duration_of(path)
track, frames = listen(path, told=told)
spans = {{
    name: cut(frames.speech, frames.level, frame_s=FRAME_S, seconds=track.seconds, rules=rules)
    for name, rules in (("all", Rules()), ("speech", Rules(skip_silence=True)))
}}
with wave.open(str(path)) as file:
    for span in spans["all"][::7]:
        first, n = round(span.start * 16000), round((span.end - span.start) * 16000)
        file.setpos(first)
        there = np.frombuffer(file.readframes(n), "<i2")
        found = track.window(span.start, span.end)
        assert np.array_equal(found[: len(there)], there)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({{"told": told, "seconds": track.seconds, "spans": spans, "peak_mb": peak * 1024 / 1e6}}))
"""


def write_long(path, minutes):
    """Write a recording a few minutes at a time; returns its phrases and words in seconds."""
    import wave

    from tests.support.sounds import RATE, SAMPLES, talk

    phrases, words, at = [], [], 0.0
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for number in range(minutes // 4):
            made = talk(240.0, seed=number % 5, manner=SAMPLES.SPARSE if number % 2 else SAMPLES.CALM)
            file.writeframes(made.samples.astype("<i2").tobytes())
            phrases += [(at + start, at + end) for start, end in made.phrases]
            words += [(at + start, at + end) for start, end in made.words]
            at += 240.0
    return phrases, words


@pytest.mark.parametrize("minutes", [20, pytest.param(120, marks=pytest.mark.torture)])
def test_a_long_recording(tmp_path, minutes):
    """Every cut is in a pause; without silence, speech with its short pauses is sent, at most 5 % more; < 300 MB."""
    path = tmp_path / "long.wav"
    phrases, words = write_long(path, minutes)
    code = CHILD.format(root=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["told"] == found["seconds"] == minutes * 60.0
    assert found["peak_mb"] < 300
    spans = found["spans"]["all"]
    assert spans[0][0] == 0.0
    assert spans[-1][1] == minutes * 60.0
    for before, after in pairwise(spans):
        assert before[1] == after[0], "they overlap although there is a pause"
        assert after[1] - after[0] <= 30.0
        assert not any(start < after[0] < end for start, end in words), "cut inside a word"
        assert not any(start < after[0] < end for start, end in phrases), "cut between two words of a phrase"
    sent = found["spans"]["speech"]
    spoken = sum(end - start for start, end in phrases)
    short_pauses = sum(gap for (_, a), (b, _) in pairwise(phrases) if (gap := b - a) <= 2.0)
    assert sum(end - start for start, end, _ in sent) <= 1.05 * (spoken + short_pauses)
    for start, end in words:
        assert any(first - 0.05 <= start and end <= last + 0.05 for first, last, _ in sent), (start, end)
