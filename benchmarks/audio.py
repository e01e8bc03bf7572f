"""a1: how fast recordings are cut and their pieces encoded, as hours of sound an hour on one core."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import wave
from pathlib import Path

import av

from benchmarks.client import cpu_s, peak_mb
from benchmarks.jobs import work_folder
from benchmarks.server import ROOT, cores, pin
from benchmarks.table import Figure
from jobs.samples_audio import RATE, SPARSE, talk
from pipeline.audio import Rules, cut, encode, listen
from pipeline.audio.listen import FRAME_S

SECONDS = 3600
TARGETS = {"wav": 200, "mp3": 60}
_MINUTES_AT_ONCE = 4


def write_hour(folder):
    """An hour of made-up voices as WAV, and the same as MP3; not part of what is measured."""
    paths = {kind: folder / f"hour.{kind}" for kind in TARGETS}
    with wave.open(str(paths["wav"]), "wb") as file, av.open(str(paths["mp3"]), "w") as out:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        stream = out.add_stream("libmp3lame", rate=RATE, layout="mono")
        for number in range(SECONDS // 60 // _MINUTES_AT_ONCE):
            samples = talk(60.0 * _MINUTES_AT_ONCE, seed=number, manner=SPARSE).samples
            file.writeframes(samples.astype("<i2").tobytes())
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = RATE
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return paths


def work(path):
    """Listen to a recording, cut it, and make the bytes of every piece; returns what it took."""
    took = []
    listen_s = 0.0
    for turn in range(2):  # the first one warms up
        began, cpu = time.perf_counter(), cpu_s()
        track, frames = listen(path, told=float(SECONDS))
        spans = cut(frames.speech, frames.level, frame_s=FRAME_S, seconds=track.seconds, rules=Rules())
        listen_s = time.perf_counter() - began
        size = sum(len(encode(track.window(span.start, span.end), "wav")) for span in spans)
        took.append((time.perf_counter() - began, cpu_s() - cpu))
        assert size > 32_000 * SECONDS, turn
    wall, cpu = took[-1]
    return {"wall_s": wall, "cpu_s": cpu, "listen_s": listen_s, "n_pieces": len(spans), "peak_mb": peak_mb()}


def a1(_):
    """Cutting and encoding an hour of sound."""
    with work_folder() as folder:
        paths = write_hour(folder)
        for kind, target in TARGETS.items():
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.audio", str(paths[kind])],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
            told = json.loads(done.stdout)
            speed = SECONDS / told["wall_s"]
            encode_s = told["wall_s"] - told["listen_s"]
            measured = (
                f"{speed:,.0f} times real time ({SECONDS / told['cpu_s']:,.0f} by CPU time), "
                f"{told['listen_s']:.1f} s to listen and cut, {encode_s:.1f} s for {told['n_pieces']} pieces, "
                f"{told['peak_mb']:.0f} MB"
            )
            wanted = f"≥ {target} times real time on one core"
            yield Figure(f"a1 {kind}", f"an hour of {kind.upper()} to pieces", wanted, measured, speed >= target)


if __name__ == "__main__":
    pin(cores()[0])
    print(json.dumps(work(Path(sys.argv[1]))))
