"""Which languages a job translates between: one for all records, or a column of the record."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Final

from pipeline.errors import PlanError, RecordUnusable
from pipeline.records import Record
from pipeline.tasks.languages import UnknownLanguage, indic_code

ENGLISH: Final = "eng_Latn"
"""As indictrans2 calls it."""


class Language:
    """Which language: one for all, or a column of the record, or both (then the first stands in for an empty cell).

    Args:
        params: Of the job.
        name: ``source_lang`` or ``target_lang``.
        code: Finds the model's code.

    Raises:
        PlanError: The parameter is no language the model takes.
    """

    def __init__(self, params: Mapping[str, object], name: str, code: Callable[[str], str]) -> None:
        self._name, self._code = name, code
        given, column = params.get(name), params.get(f"{name}_column")
        if column is not None and (not isinstance(column, str) or not column):
            raise PlanError("should be the name of a column", key=f"params.{name}_column")
        self.column = column
        self.default: str | None = None
        if given is not None:
            if not isinstance(given, str):
                raise PlanError("should be a language code or name", key=f"params.{name}")
            try:
                self.default = code(given)
            except UnknownLanguage as unknown:
                raise PlanError(str(unknown), key=f"params.{name}") from None

    def or_default(self, code: str) -> Language:
        """The same, with a language for records that name none."""
        self.default = self.default or code
        return self

    def check(self) -> None:
        """See that there is a language for every record.

        Raises:
            PlanError: Neither parameter is given.
        """
        if self.default is None and self.column is None:
            which = "the texts are in" if self._name == "source_lang" else "they are translated into"
            problem = f"say which language {which}, e.g. de or German; or name a column: params.{self._name}_column"
            raise PlanError(problem, key=f"params.{self._name}")

    def of(self, record: Record) -> str:
        """The model's code for a record.

        Raises:
            RecordUnusable: Its column holds no language the model takes.
        """
        code = self.told(record)
        if code is None:
            raise RecordUnusable(f'column "{self.column}" names no language')
        return code

    def is_named(self, record: Record) -> bool:
        """Whether the record itself says which."""
        return self.column is not None and record.fields.get(self.column) not in (None, "")

    def told(self, record: Record) -> str | None:
        """The model's code for a record, None where nothing names one.

        Raises:
            RecordUnusable: Its column holds no language the model takes.
        """
        if self.column is None or not self.is_named(record):
            return self.default
        given = record.fields[self.column]
        if not isinstance(given, str):
            raise RecordUnusable(f'column "{self.column}" holds no language code or name')
        try:
            return self._code(given)
        except UnknownLanguage as unknown:
            raise RecordUnusable(f'column "{self.column}": {unknown}') from None


def from_english(given: str) -> str:
    """indictrans2 translates from English only."""
    with contextlib.suppress(UnknownLanguage):
        if indic_code(given) == ENGLISH:
            return ENGLISH
    raise UnknownLanguage(f'"{given}" is not what indictrans2 translates from: its texts are English')


def iso_code(code: str) -> str:
    """The code as sentence rules know it."""
    return "en" if code == ENGLISH else code
