"""Turns a record's fields into the text that is sent: one column, or a template such as ``"{title}: {body}"``. Pure."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self

from pipeline.errors import PlanError, RecordUnusable


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """Literal text and column names, in turn.

    Attributes:
        parts: (literal text, column or None) pairs.
        plain: The column, where the template is just one column.
        source: As the user wrote it.
        fallback: Column to take where the plain one is absent (a default that fits tables and plain text alike).
    """

    parts: tuple[tuple[str, str | None], ...]
    source: str
    plain: str | None = None
    fallback: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a column name or a template; ``{{`` and ``}}`` stand for braces.

        Raises:
            PlanError: Braces do not match, or a placeholder is more than a column name.
        """
        if "{" not in text and "}" not in text:
            return cls(parts=(("", text),), plain=text, source=text)
        try:
            pieces = list(string.Formatter().parse(text))
        except ValueError as exc:
            raise PlanError(f"{exc}; write {{{{ and }}}} for literal braces", key="input.text") from exc
        parts: list[tuple[str, str | None]] = []
        for literal, name, spec, conversion in pieces:
            if name is not None and (not name or spec or conversion):
                raise PlanError(
                    f'a placeholder is a column name in braces, such as {{title}}, not "{{{name}}}"', key="input.text"
                )
            parts.append((literal, name))
        return cls(parts=tuple(parts), source=text)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns used, in order; the fallback is not one of them."""
        return tuple(name for _, name in self.parts if name is not None)

    def render(self, fields: Mapping[str, object]) -> str:
        """Fill in one record.

        Raises:
            RecordUnusable: A column is missing, is null, or holds something that is not text.
        """
        if self.plain is not None:
            value = fields.get(self.plain)
            if value is None and self.fallback is not None:
                value = fields.get(self.fallback)
            if isinstance(value, str):
                return value
            raise RecordUnusable(_problem(self.plain, fields, scalars=False))
        out: list[str] = []
        for literal, name in self.parts:
            out.append(literal)
            if name is None:
                continue
            value = fields.get(name)
            if isinstance(value, str):
                out.append(value)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                out.append(str(value))
            else:
                raise RecordUnusable(_problem(name, fields, scalars=True))
        return "".join(out)


def _problem(name: str, fields: Mapping[str, object], *, scalars: bool) -> str:
    if name not in fields:
        near = get_close_matches(name, fields, n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        return f'there is no column "{name}" (there are: {", ".join(list(fields)[:12]) or "none"}){hint}'
    value = fields[name]
    if value is None:
        return f'column "{name}" is null'
    wanted = "text or a number" if scalars else "text"
    return f'column "{name}" holds {_kind(value)}, not {wanted}'


def _kind(value: object) -> str:
    names = {bool: "true/false", int: "a number", float: "a number", list: "a list", dict: "an object", bytes: "bytes"}
    return names.get(type(value), type(value).__name__)
