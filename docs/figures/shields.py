"""Draw docs/figures/shields.svg: a piece of Markdown, what of it is sent, and as what. Run from the project's folder.

python -m docs.figures.shields
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final

from pipeline.segments import has_letters, segments
from pipeline.tasks.translation.markup import strips_of
from pipeline.tasks.translation.strips import Strip

TARGET: Final = Path("docs/figures/shields.svg")
MOST: Final = 110
CHAR, LINE, LEFT = 7.8, 24, 20
TEXT: Final = """\
> **Note:** since {version} the option `--limit` counts records. See
> [the manual](https://example.org/m) for %s, or write to help@example.org.

| Option    | Meaning                      |
|-----------|------------------------------|
| `--limit` | only the first _n_ records   |

```sh
wai run job.yaml --limit 10
```
"""
_SEGMENT: Final = ("#f0dcb4", "#e8c98a")
_SHIELD: Final = "#9db8d2"
_OUTSIDE: Final = "#dfe6ec"


def _pieces() -> tuple[list[Strip], list[Strip]]:
    """What is found, and what of it is sent."""
    strips = strips_of(TEXT, "markdown")
    cut = [
        strip.part(each.start, each.end) for strip in strips for each in segments(strip.text, most=MOST, language="en")
    ]
    parts = [part for each in cut if (part := each.trimmed()) and has_letters(part.text)]
    return strips, parts


def _colours() -> list[str]:
    """The colour behind each character."""
    strips, parts = _pieces()
    colours = [""] * len(TEXT)
    for strip in strips:
        for shield in strip.shields:
            colours[shield.start : shield.end] = [_OUTSIDE] * (shield.end - shield.start)
    for number, part in enumerate(parts):
        for run in part.runs:
            if run.length == run.end - run.start:
                colours[run.start : run.end] = [_SEGMENT[number % 2]] * run.length
        for shield in part.shields:
            colours[shield.start : shield.end] = [_SHIELD] * (shield.end - shield.start)
    return colours


def _line(text: str, top: int, colours: list[str]) -> list[str]:
    parts = []
    at = 0
    while at < len(text):
        end = at
        while end < len(text) and colours[end] == colours[at]:
            end += 1
        if colours[at]:
            box = f'x="{LEFT + at * CHAR:.1f}" y="{top + 2}" width="{(end - at) * CHAR:.1f}" height="{LINE - 4}" rx="2"'
            parts.append(f'<rect {box} fill="{colours[at]}"/>')
        at = end
    return [*parts, _text(text, top)]


def _text(text: str, top: int) -> str:
    size = f'textLength="{len(text) * CHAR:.1f}"' if text else ""
    return f'<text x="{LEFT}" y="{top + 16}" xml:space="preserve" {size}>{escape(text)}</text>'


def draw() -> str:
    """Make the picture from what the pipeline itself finds."""
    colours, top, at = _colours(), 10, 0
    parts: list[str] = []
    for line in TEXT.splitlines():
        parts += _line(line, top, colours[at : at + len(line)])
        at += len(line) + 1
        top += LINE
    top += 10
    parts.append(f'<text x="{LEFT}" y="{top + 14}" font-family="sans-serif">sent:</text>')
    top += LINE
    for number, part in enumerate(_pieces()[1]):
        parts += _line(part.sent, top, [_SEGMENT[number % 2]] * len(part.sent))
        top += LINE
    width = LEFT * 2 + max(len(line) for line in [*TEXT.splitlines(), *(part.sent for part in _pieces()[1])]) * CHAR
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {top + 10}" font-family="monospace" '
        f'font-size="13">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
