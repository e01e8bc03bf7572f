"""Draw docs/figures/cuts.svg: a minute of a made-up recording, and where it is cut. Run from the project's folder.

python -m docs.figures.waveform
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from jobs.samples_audio import RATE, SPARSE, talk, write_wav
from pipeline.audio import Rules, Span, cut, listen
from pipeline.audio.listen import FRAME_S

TARGET: Final = Path("docs/figures/cuts.svg")
SECONDS: Final = 60.0
WIDTH, LEFT = 960, 20
_ROWS: Final = (
    ("all of it is sent (longest piece 15 s)", Rules(longest_s=15.0)),
    ("skip_silence: true", Rules(longest_s=15.0, skip_silence=True)),
)


def _x(seconds: float) -> float:
    return LEFT + seconds / SECONDS * WIDTH


def _wave(samples: np.ndarray, middle: int, height: int) -> str:
    steps = np.array_split(samples.astype(float) / 32_768.0, WIDTH)
    peaks = [max(1.0, float(np.abs(step).max()) * height * 1.2) for step in steps]
    lines = [f"M{LEFT + at} {middle - peak:.1f}V{middle + peak:.1f}" for at, peak in enumerate(peaks)]
    return f'<path d="{"".join(lines)}" stroke="#4a6785" fill="none"/>'


def _speech(flags: np.ndarray, top: int) -> list[str]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(int))) * FRAME_S
    return [
        f'<rect x="{_x(a):.1f}" y="{top}" width="{_x(b) - _x(a):.1f}" height="8" fill="#6aa76a"/>'
        for a, b in zip(edges[::2], edges[1::2], strict=True)
    ]


def _pieces(spans: list[Span], top: int) -> list[str]:
    return [
        f'<rect x="{_x(span.start) + 0.5:.1f}" y="{top}" width="{_x(span.end) - _x(span.start) - 1:.1f}" height="22" '
        f'rx="3" fill="{"#e8c98a" if at % 2 else "#f0dcb4"}" stroke="#8a6a2a"/>'
        f'<text x="{(_x(span.start) + _x(span.end)) / 2:.1f}" y="{top + 15}" text-anchor="middle">'
        f"{span.end - span.start:.1f} s</text>"
        for at, span in enumerate(spans)
    ]


def draw() -> str:
    """Make the picture from what the pipeline itself finds."""
    samples = talk(SECONDS, seed=9, manner=SPARSE).samples
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "talk.wav"
        write_wav(path, samples)
        track, frames = listen(path, told=len(samples) / RATE)
    parts = [_wave(samples, 75, 60), f'<text x="{LEFT}" y="155">frames with a voice in them</text>']
    parts += _speech(frames.speech, 160)
    for at, (title, rules) in enumerate(_ROWS):
        spans = cut(frames.speech, frames.level, frame_s=FRAME_S, seconds=track.seconds, rules=rules)
        sent = sum(span.end - span.start for span in spans)
        parts.append(f'<text x="{LEFT}" y="{195 + 50 * at}">{title}: {len(spans)} pieces, {sent:.0f} s</text>')
        parts += _pieces(spans, 200 + 50 * at)
        if not rules.skip_silence:
            parts += [
                f'<path d="M{_x(span.end):.1f} 10V222" stroke="#b03a2e" stroke-dasharray="4 3"/>' for span in spans[:-1]
            ]
    ticks = [f'<text x="{_x(s):.0f}" y="296" text-anchor="middle">{s} s</text>' for s in range(0, int(SECONDS) + 1, 10)]
    body = "\n".join([*parts, *ticks])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 2 * LEFT} 305" font-family="sans-serif" '
        f'font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
