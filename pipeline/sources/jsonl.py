"""JSON lines: one object per line; its keys are the columns.

Integers beyond 64 bits come as floats and of equal keys the last one wins, as the parser has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import orjson

from pipeline.errors import SourceError
from pipeline.sources.origins import InputFile, RawRow
from pipeline.sources.streams import OVERSIZE_REASON, Line, Oversize, line_blocks, why_not_utf8

_KINDS: Final = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "true or false"}


def rows(file: InputFile) -> Iterator[RawRow]:
    """Yield one row per line that is not blank; blank lines count for the row number.

    Raises:
        SourceError: A ``.json`` file is one document instead of lines; or as `streams.line_blocks`.
    """
    loads = orjson.loads
    first = 0
    unchecked = ".json" in (file.path.suffix.lower(), file.path.with_suffix("").suffix.lower())
    for block in line_blocks(file):
        if unchecked:
            unchecked = not _check_document(file, block)
        for row, line in enumerate(block, first):
            try:
                value = loads(line)  # type: ignore[arg-type]  # OVERSIZE is refused as any other non-JSON
            except orjson.JSONDecodeError as exc:
                if reason := _why_not_json(line, exc):
                    yield row, reason
                continue
            if isinstance(value, dict):
                yield row, value
            else:
                yield row, f"line is {_KINDS.get(type(value), 'null')}, not an object"
        first += len(block)


def _why_not_json(line: Line, exc: orjson.JSONDecodeError) -> str | None:
    """Say what is wrong with a line; None when it is only blank."""
    if isinstance(line, Oversize):
        return OVERSIZE_REASON
    if not line.strip():
        return None
    try:
        line.decode()
    except UnicodeDecodeError as undecodable:
        return why_not_utf8(undecodable, "line")
    return f"line is not JSON: {exc.msg} at column {exc.colno}"


def _check_document(file: InputFile, block: list[Line]) -> bool:
    """Refuse a file that is one JSON document; True once there was something to judge by."""
    for line in block:
        start = line.strip() if isinstance(line, bytes) else b""
        if start == b"{":
            problem, how = "is one JSON document over several lines", "jq -c ."
        elif start.startswith(b"["):
            problem, how = "is one JSON array", "jq -c '.[]'"
        elif start:
            return True
        else:
            continue
        raise SourceError(file.shown, f"{problem}; write one object per line instead (JSON lines, e.g. with {how})")
    return False
