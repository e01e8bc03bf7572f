"""What nobody should send: answers that are none, documented answers with parts spoiled, cells that hold anything."""

import numpy as np
from hypothesis import strategies as st

from pipeline.records import Media
from tests.support.drawing import bomb, picture


def nested(depth, inner=None):
    """Lists in lists."""
    for _ in range(depth):
        inner = [inner]
    return inner


SCALARS = [
    *(None, True, False, 0, -1, 3, 2**31, 2**63, -(2**63) - 1, 10**400),
    *(0.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "x", "\0", "\ud800", "a\udfff", "0", "NaN", "</think>", "```json\n```", "{}", '{"label": null}', "[]"),
    *("data:image/png;base64,", "=====", "é" * 2_000, "x" * 20_000),
]
MEDIA = [
    Media(content, mime)
    for content in (
        b"",
        b"\0",
        b"{}",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"ID3\4",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"OggS",
    )
    for mime in ("image/png", "audio/mpeg", "")
]
MEDIA += [Media(picture()[:60], "image/png"), Media(bomb(), "image/png"), Media(b"\xff\xfb" * 500, "audio/mpeg")]
MATRICES = [np.zeros((2, 3), np.float32), np.full((1, 8), np.nan, np.float32), np.zeros((0, 0), np.float32)]
"""Only where a task has vectors: nothing else is read as one."""

NAMES = [
    *("data", "response", "shape", "choices", "message", "content", "finish_reason", "output", "output_text", "type"),
    *("text", "label", "labels", "score", "id", "box", "xmin", "caption", "answer", "description", "metrics", "audio"),
    *("image", "name", "format", "tokens", "error", "mimeType", "translations", "translated_text", "tool_calls"),
    *("reasoning_content", "word_count", "words", "segments", "vtt", "transcription_info", ""),
]
JSON = st.recursive(
    st.sampled_from(SCALARS) | st.text(max_size=8) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
VALUES = [
    *SCALARS,
    *([], {}, [[]], [{}], [None] * 50, {"": None}, nested(300), [{"label": "a"}] * 3, "".join(map(chr, range(200)))),
]
WRONG = st.sampled_from(VALUES)
KINDS = [
    None,
    True,
    -1,
    10**400,
    0.5,
    float("nan"),
    "",
    " \n",
    "x",
    "\ud800",
    "é" * 2_000,
    [],
    {},
    [[]],
    [{}],
    nested(300),
]
"""One value of each kind, for where every one of them is tried."""

ANYTHING = WRONG | JSON | st.sampled_from(MEDIA)


@st.composite
def spoiled(draw, answer):
    """A documented answer of which some parts are missing, doubled, cut or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        answer = _spoil(draw, answer)
    return answer


def _spoil(draw, value):
    """Go down to some part of it and spoil that."""
    if isinstance(value, Media):
        return Media(value.content[: draw(st.integers(0, len(value.content)))], value.mime)
    keys = _keys(value)
    if not keys or draw(st.integers(0, 3)) == 0:
        return _replaced(draw, value)
    key = draw(st.sampled_from(keys))
    changed = _copy(value)
    action = draw(st.sampled_from(["deeper", "deeper", "deeper", "delete", "double"]))
    if action == "deeper":
        changed[key] = _spoil(draw, value[key])
    elif action == "delete":
        del changed[key]
    elif isinstance(changed, list):
        changed.insert(key, value[key])
    else:
        changed[draw(st.sampled_from(NAMES))] = value[key]
    return changed


def spoilings(value):
    """Every documented answer that has one part missing, doubled, cut or replaced by any of `KINDS`."""
    yield from KINDS
    if isinstance(value, str | list) and len(value) > 1:
        yield value[: len(value) // 2]
    for key in _keys(value):
        shorter, longer = _copy(value), _copy(value)
        del shorter[key]
        yield shorter
        if isinstance(longer, list):
            longer.insert(key, value[key])
            yield longer
        for part in spoilings(value[key]):
            changed = _copy(value)
            changed[key] = part
            yield changed


def _copy(value):
    return dict(value) if isinstance(value, dict) else list(value)


def _keys(value):
    """Members of it; of a long list some."""
    if isinstance(value, dict):
        return list(value)
    return sorted({0, len(value) // 2, len(value) - 1}) if isinstance(value, list) and value else []


def _replaced(draw, value):
    if isinstance(value, str | list) and draw(st.booleans()):
        return value[: draw(st.integers(0, len(value)))]
    return draw(WRONG)


def huge():
    """Answers that take long where somebody looks at them twice; by name."""
    return {
        "a million zeros": [0] * 1_000_000,
        "a million lists": [[]] * 1_000_000,
        "a million objects": [{}] * 1_000_000,
        "ten megabytes of text": "x" * 10_000_000,
        "ten megabytes of spaces": " " * 10_000_000,
        "open thoughts": "<think>" * 1_000_000,
        "open braces": "{" * 2_000_000,
        "deep": nested(1_000),
        "deeper": nested(100_000),
        "a deep object": _deep_object(100_000),
        "a megabyte of nothing": Media(bytes(1_000_000), "audio/mpeg"),
        "a megabyte of frames": Media(b"\xff\xfb\x90\x00" * 250_000, "audio/mpeg"),
    }


def _deep_object(depth):
    inner = {}
    for _ in range(depth):
        inner = {"response": inner}
    return inner
