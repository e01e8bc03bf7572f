"""Records written in the spec itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipeline.sources.origins import RawRow

Item = str | Mapping[str, object]


def rows(items: Sequence[Item]) -> Iterator[RawRow]:
    """Yield one row per item; a text is the column ``text``."""
    for row, item in enumerate(items):
        fields: dict[str, object] = {"text": item} if isinstance(item, str) else dict(item)
        yield row, "text holds half a character (a lone surrogate)" if _has_surrogate(fields) else fields


def columns(items: Sequence[Item]) -> list[str]:
    """Return all names the items use, in order of appearance."""
    names = (name for item in items for name in (("text",) if isinstance(item, str) else item))
    return list(dict.fromkeys(names))


def _has_surrogate(value: object) -> bool:
    """YAML can write what UTF-8 cannot."""
    if isinstance(value, str):
        return any("\ud800" <= sign <= "\udfff" for sign in value)
    if isinstance(value, Mapping):
        return any(_has_surrogate(part) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and any(_has_surrogate(part) for part in value)
